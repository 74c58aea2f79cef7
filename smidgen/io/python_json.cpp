#include "smidgen/io/python_json.h"

#include <charconv>
#include <cmath>
#include <map>

#include "smidgen/base/error.h"

namespace smidgen {

namespace {

void dump(const Json& value, int indent, std::string& out) {
  const auto line = [&](int depth) {
    out += '\n';
    out.append(static_cast<size_t>(depth) * 2, ' ');
  };
  const auto key_or_text = [&](const std::string& text) { out += Json(text).dump(-1, ' ', true); };
  switch (value.type()) {
    case Json::value_t::object: {
      if (value.empty()) {
        out += "{}";
        return;
      }
      // Code points and UTF-8 bytes sort alike.
      std::map<std::string, const Json*> sorted;
      for (const auto& [key, item] : value.items()) sorted.emplace(key, &item);
      out += '{';
      bool first = true;
      for (const auto& [key, item] : sorted) {
        if (!first) out += ',';
        first = false;
        line(indent + 1);
        key_or_text(key);
        out += ": ";
        dump(*item, indent + 1, out);
      }
      line(indent);
      out += '}';
      return;
    }
    case Json::value_t::array: {
      if (value.empty()) {
        out += "[]";
        return;
      }
      out += '[';
      for (size_t i = 0; i < value.size(); ++i) {
        if (i) out += ',';
        line(indent + 1);
        dump(value[i], indent + 1, out);
      }
      line(indent);
      out += ']';
      return;
    }
    case Json::value_t::string:
      key_or_text(value.get_ref<const std::string&>());
      return;
    case Json::value_t::number_float:
      out += python_float(value.get<double>());
      return;
    default:
      out += value.dump();
      return;
  }
}

}  // namespace

std::string python_float(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  char text[32];
  const auto end =
      std::to_chars(text, text + sizeof text, value, std::chars_format::scientific).ptr;
  const std::string_view shortest(text, static_cast<size_t>(end - text));
  const size_t e = shortest.find('e');
  int exponent = 0;
  const char* digits = shortest.data() + e + 1;
  std::from_chars(digits + (*digits == '+'), end, exponent);
  // repr() keeps the exponent out of sight between 1e-4 and 1e16.
  if (exponent < -4 || exponent >= 16) return std::string(shortest);
  char fixed[400];
  const auto fixed_end =
      std::to_chars(fixed, fixed + sizeof fixed, value, std::chars_format::fixed).ptr;
  std::string out(fixed, fixed_end);
  if (out.find('.') == std::string::npos) out += ".0";
  return out;
}

std::string python_json(const Json& value) {
  std::string out;
  try {
    dump(value, 0, out);
  } catch (const nlohmann::json::exception&) {
    throw Error(ErrorKind::format, "a text for a JSON file is not valid UTF-8");
  }
  return out;
}

}  // namespace smidgen
