#include "smidgen/report/html.h"

#include <gtest/gtest.h>

namespace smidgen {
namespace {

std::string sign(const std::string& text) {
  return "<span class=\"ctl\">" + text + "</span>";
}

TEST(EscapeHtml, LeavesNoMarkup) {
  EXPECT_EQ(escape_html("<a href='x' title=\"&\">"),
            "&lt;a href=&#39;x&#39; title=&quot;&amp;&quot;&gt;");
  EXPECT_EQ(escape_html("na\u00efve \u4e2d \U0001f600\n\t"), "na\u00efve \u4e2d \U0001f600\n\t");
  EXPECT_EQ(escape_html(std::string_view("a\0b\x1b\u202e", 7)), "a\ufffdb\ufffd\ufffd");
}

TEST(EscapeHtml, ReplacesWhatIsNotUtf8) {
  // Lone continuation, overlong slash, surrogate, beyond U+10FFFF, truncated at the end.
  EXPECT_EQ(escape_html("\x80|\xc0\xaf|\xed\xa0\x80|\xf4\x90\x80\x80|\xe2\x82"),
            "\ufffd|\ufffd\ufffd|\ufffd\ufffd\ufffd|\ufffd\ufffd\ufffd\ufffd|\ufffd\ufffd");
}

TEST(VisibleHtml, ShowsWhatTheEyeWouldMiss) {
  EXPECT_EQ(visible_html("a\n\tb"), "a" + sign("\u21b5") + "\n" + sign("\u2192") + "\tb");
  EXPECT_EQ(visible_html("\x1b\r\x7f"), sign("\u241b") + sign("\u240d") + sign("\u2421"));
  EXPECT_EQ(visible_html("\u0085\u202e\u200b\ufeff\uffff"),
            sign("U+0085") + sign("U+202E") + sign("U+200B") + sign("U+FEFF") + sign("U+FFFF"));
  EXPECT_EQ(visible_html("\xff<b>"), sign("\\xFF") + "&lt;b&gt;");
}

TEST(TextBlock, FoldsLongText) {
  EXPECT_EQ(text_block("<"), "<pre>&lt;</pre>");
  EXPECT_EQ(text_block("abcdef", 5),
            "<details><summary>6 bytes</summary><pre>abcdef</pre></details>");
  EXPECT_EQ(text_block(""), "<p class=\"none\">empty</p>");
}

TEST(HtmlTable, AlignsNumbers) {
  EXPECT_EQ(html_table({{"<k>"}, {"n", true}}, {{"a", "1"}}),
            "<div class=\"scroll\"><table>\n<thead><tr><th>&lt;k&gt;</th><th "
            "class=\"n\">n</th></tr></thead>\n<tbody>\n"
            "<tr><td>a</td><td class=\"n\">1</td></tr>\n</tbody>\n</table></div>\n");
}

}  // namespace
}  // namespace smidgen
