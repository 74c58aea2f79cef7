#include "smidgen/text/aligned_text.h"

#include <utility>

#include "smidgen/base/error.h"

namespace smidgen {
namespace {

constexpr size_t kMaxGrowth = 64, kMaxSmall = size_t{1} << 16;

}  // namespace

AlignedText::AlignedText(std::string_view text, size_t base, bool track)
    : view_(text),
      base_(base),
      source_end_(base + text.size()),
      source_size_(text.size()),
      track_(track) {}

AlignedText& AlignedText::operator=(AlignedText&& other) noexcept {
  const bool owned = other.view_.data() == other.own_.data();  // a short string moves its bytes
  own_ = std::move(other.own_);
  view_ = owned ? std::string_view(own_) : other.view_;
  origins_ = std::move(other.origins_);
  base_ = other.base_;
  source_end_ = other.source_end_;
  source_size_ = other.source_size_;
  track_ = other.track_;
  return *this;
}

size_t AlignedText::begin(size_t at) const {
  if (at == view_.size()) return source_end_;
  return origins_.empty() ? base_ + at : origins_[at].begin;
}

size_t AlignedText::end(size_t at) const {
  return origins_.empty() ? base_ + at : origins_[at - 1].end;
}

AlignedText AlignedText::slice(size_t begin, size_t end) const {
  AlignedText out(view_.substr(begin, end - begin), base_ + begin, track_);
  if (origins_.empty()) return out;
  out.source_end_ = this->begin(end);
  out.origins_.assign(origins_.begin() + static_cast<std::ptrdiff_t>(begin),
                      origins_.begin() + static_cast<std::ptrdiff_t>(end));
  return out;
}

void Rewrite::keep(size_t bytes) {
  if (out_.empty()) out_.reserve(text_.view_.size() + 16);
  if (text_.track_) {
    for (size_t i = at_; i < at_ + bytes; ++i)
      origins_.push_back(text_.origins_.empty()
                             ? AlignedText::Span{static_cast<uint32_t>(text_.base_ + i),
                                                 static_cast<uint32_t>(text_.base_ + i + 1)}
                             : text_.origins_[i]);
  }
  out_ += text_.view_.substr(at_, bytes);
  at_ += bytes;
}

void Rewrite::replace(size_t bytes, std::string_view with) {
  if (text_.track_) {
    const auto begin = static_cast<uint32_t>(text_.begin(at_));
    const auto end = bytes ? static_cast<uint32_t>(text_.end(at_ + bytes)) : begin;
    origins_.insert(origins_.end(), with.size(), {begin, end});
  }
  out_ += with;
  at_ += bytes;
  // Replacements after one another multiply; no real rule makes this much of a text.
  if (out_.size() > kMaxGrowth * text_.source_size_ + kMaxSmall)
    throw Error(ErrorKind::data, str("the tokenizer's rules make more than ", out_.size(),
                                     " bytes of ", text_.source_size_));
}

void Rewrite::finish() {
  keep(text_.view_.size() - at_);
  text_.own_ = std::move(out_);
  text_.view_ = text_.own_;
  text_.origins_ = std::move(origins_);
}

}  // namespace smidgen
