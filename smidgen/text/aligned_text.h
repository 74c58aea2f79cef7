// A text that is being rewritten, and for each of its bytes the place in the caller's text that it
// stands for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace smidgen {

// Valid UTF-8. A byte of a part that was rewritten stands for the whole part that it replaced, an
// inserted byte for nothing: the empty stretch before which it was put. Until the first rewrite it
// is a view of the caller's text and costs nothing.
class AlignedText {
 public:
  // `base`: where `text` begins in the caller's text. `track` false: origins are not kept, and
  // begin(), end() may not be asked once the text has changed.
  AlignedText(std::string_view text, size_t base, bool track);
  AlignedText(AlignedText&& other) noexcept { *this = std::move(other); }
  AlignedText& operator=(AlignedText&& other) noexcept;

  std::string_view text() const { return view_; }
  size_t begin(size_t at) const;  // origin of the byte at `at`, or of the end of the text
  size_t end(size_t at) const;    // where the origin of the byte before `at` ends; at > 0
  AlignedText slice(size_t begin, size_t end) const;
  bool tracked() const { return track_; }

 private:
  friend class Rewrite;
  struct Span {
    uint32_t begin, end;
  };
  std::string own_;
  std::string_view view_;
  std::vector<Span> origins_;  // one per byte; empty: byte i stands for base_ + i
  size_t base_ = 0, source_end_ = 0, source_size_ = 0;
  bool track_ = true;
};

// Builds the next version of a text from front to back; nothing happens before finish().
class Rewrite {
 public:
  explicit Rewrite(AlignedText& text) : text_(text) {}
  size_t at() const { return at_; }            // bytes of the old text that are done
  size_t size() const { return out_.size(); }  // of the new text so far
  void keep(size_t bytes);                     // copies
  void keep_to(size_t at) { keep(at - at_); }
  void replace(size_t bytes, std::string_view with);
  void insert(std::string_view with) { replace(0, with); }
  void finish();  // copies what is left

 private:
  AlignedText& text_;
  std::string out_;
  std::vector<AlignedText::Span> origins_;
  size_t at_ = 0;
};

}  // namespace smidgen
