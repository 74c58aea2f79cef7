// Text into HTML. What a model generated or a data file contains is hostile, so nothing reaches a
// page unescaped.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace smidgen {

// For element content and double-quoted attributes: & < > " ' escaped, control characters and
// invalid UTF-8 replaced by U+FFFD (a page must be valid whatever a file held).
std::string escape_html(std::string_view text);

// Like escape_html, but nothing is hidden: a line feed keeps its break and shows a return sign, a
// tab an arrow, other control characters their picture (U+2400 block), invalid bytes as \xNN, and
// characters that hide or reorder text (bidi controls, zero-width, BOM) as U+NNNN; signs are set
// apart by <span class="ctl">.
std::string visible_html(std::string_view text);

// Visible text in <pre>; above `fold` bytes behind <details> with its size in the summary.
std::string text_block(std::string_view text, size_t fold = 1200);

struct Column {
  std::string title;
  bool number = false;  // right-aligned, tabular figures
};

// A whole page that needs neither network nor script. `title` is text, `body` is HTML.
std::string html_page(const std::string& title, const std::string& body);

// Cells are HTML: the caller has passed them through escape_html. Asserts that every row has one
// cell per column.
std::string html_table(const std::vector<Column>& columns,
                       const std::vector<std::vector<std::string>>& rows);

}  // namespace smidgen
