#include "smidgen/report/html.h"

#include <cstdint>
#include <cstdio>

#include "smidgen/base/error.h"
#include "smidgen/report/page_style.h"

namespace smidgen {

namespace {

// One character of UTF-8 (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF).
struct Decoded {
  uint32_t code = 0;
  size_t length = 1;
  bool valid = false;
};

Decoded decode(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || at + length > text.size()) return {};
  uint32_t code = lead & (0xFFu >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    code = (code << 6) | (byte(i) & 0x3Fu);
  }
  const uint32_t least = length == 2 ? 0x80 : length == 3 ? 0x800 : 0x10000;
  if (code < least || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return {};
  return {code, length, true};
}

bool is_control(uint32_t code) {
  return code < 0x20 || (code >= 0x7F && code < 0xA0);
}

// Characters that hide text or change its order on the screen, and the non-characters HTML forbids.
bool is_deceptive(uint32_t code) {
  return code == 0xAD || code == 0x61C || code == 0x180E || (code >= 0x200B && code <= 0x200F) ||
         (code >= 0x2028 && code <= 0x202E) || (code >= 0x2060 && code <= 0x206F) ||
         code == 0xFEFF || (code >= 0xFFF9 && code <= 0xFFFB) ||
         (code >= 0xFDD0 && code <= 0xFDEF) || (code & 0xFFFE) == 0xFFFE ||
         (code >= 0xE0000 && code <= 0xE007F);
}

bool append_escaped(std::string& out, char c) {
  switch (c) {
    case '&':
      out += "&amp;";
      return true;
    case '<':
      out += "&lt;";
      return true;
    case '>':
      out += "&gt;";
      return true;
    case '"':
      out += "&quot;";
      return true;
    case '\'':
      out += "&#39;";
      return true;
    default:
      return false;
  }
}

void append_sign(std::string& out, std::string_view sign) {
  out += "<span class=\"ctl\">";
  out += sign;
  out += "</span>";
}

std::string utf8(uint32_t code) {  // of the control pictures U+2400..U+2421 only
  return {static_cast<char>(0xE0 | (code >> 12)), static_cast<char>(0x80 | ((code >> 6) & 0x3F)),
          static_cast<char>(0x80 | (code & 0x3F))};
}

std::string hex(const char* format, unsigned value) {
  char text[16];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

void append_visible_control(std::string& out, uint32_t code) {
  if (code == '\n') {
    append_sign(out, "\u21b5");
    out += '\n';
  } else if (code == '\t') {
    append_sign(out, "\u2192");
    out += '\t';
  } else if (code < 0x20) {
    append_sign(out, utf8(0x2400 + code));
  } else if (code == 0x7F) {
    append_sign(out, utf8(0x2421));
  } else {
    append_sign(out, hex("U+%04X", code));
  }
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  for (size_t i = 0; i < text.size();) {
    const Decoded c = decode(text, i);
    const bool space = c.code == '\n' || c.code == '\t';
    if (!c.valid || (is_control(c.code) && !space) || is_deceptive(c.code)) {
      out += "\ufffd";
    } else if (c.length > 1 || !append_escaped(out, text[i])) {
      out += text.substr(i, c.length);
    }
    i += c.length;
  }
  return out;
}

std::string visible_html(std::string_view text) {
  std::string out;
  out.reserve(text.size() + text.size() / 4);
  for (size_t i = 0; i < text.size();) {
    const Decoded c = decode(text, i);
    if (!c.valid) {
      append_sign(out, hex("\\x%02X", static_cast<unsigned char>(text[i])));
    } else if (is_control(c.code)) {
      append_visible_control(out, c.code);
    } else if (is_deceptive(c.code)) {
      append_sign(out, hex("U+%04X", c.code));
    } else if (c.length > 1 || !append_escaped(out, text[i])) {
      out += text.substr(i, c.length);
    }
    i += c.length;
  }
  return out;
}

std::string text_block(std::string_view text, size_t fold) {
  if (text.empty()) return "<p class=\"none\">empty</p>";
  // A line feed right after <pre> is dropped by the HTML parser; the visible sign in front of it
  // prevents that.
  const std::string body = "<pre>" + visible_html(text) + "</pre>";
  if (text.size() <= fold) return body;
  return "<details><summary>" + std::to_string(text.size()) + " bytes</summary>" + body +
         "</details>";
}

std::string html_table(const std::vector<Column>& columns,
                       const std::vector<std::vector<std::string>>& rows) {
  const auto cell = [&](const char* tag, size_t i, const std::string& content) {
    return std::string("<") + tag + (columns[i].number ? " class=\"n\">" : ">") + content + "</" +
           tag + ">";
  };
  std::string out = "<div class=\"scroll\"><table>\n<thead><tr>";
  for (size_t i = 0; i < columns.size(); ++i) out += cell("th", i, escape_html(columns[i].title));
  out += "</tr></thead>\n<tbody>\n";
  for (const auto& row : rows) {
    SMIDGEN_ASSERT(row.size() == columns.size());
    out += "<tr>";
    for (size_t i = 0; i < row.size(); ++i) out += cell("td", i, row[i]);
    out += "</tr>\n";
  }
  return out + "</tbody>\n</table></div>\n";
}

std::string html_page(const std::string& title, const std::string& body) {
  return "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta "
         "name=\"generator\" content=\"smidgen\">\n"
         // Nothing a data file smuggles in could load or run, even if an escape were missing.
         "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
         "'unsafe-inline'; img-src data:\">\n"
         "<link rel=\"icon\" href=\"data:,\">\n<title>" +
         escape_html(title) + "</title>\n<style>" + std::string(kPageStyle) +
         "</style>\n</head>\n<body>\n<main>\n<h1>" + escape_html(title) + "</h1>\n" + body +
         "<footer>Written by smidgen. This file is complete: it loads "
         "nothing.</footer>\n</main>\n</body>\n</html>\n";
}

}  // namespace smidgen
