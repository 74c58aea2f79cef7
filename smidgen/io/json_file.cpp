#include "smidgen/io/json_file.h"

#include <iterator>
#include <unordered_set>
#include <vector>

namespace smidgen {

namespace {

constexpr size_t kMaxDepth = 200;

std::string line_and_column(std::string_view text, size_t byte, const std::string& where,
                            int64_t first_line) {
  size_t line = static_cast<size_t>(first_line), column = 1;
  for (size_t i = 0; i < byte && i < text.size(); ++i) {
    column = text[i] == '\n' ? 1 : column + 1;
    line += text[i] == '\n';
  }
  return str(where, ":", line, ":", column);
}

// A walk over the text that tells outside how far the parser has read.
class Counting {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  Counting(const char* at, const char** reached) : at_(at), reached_(reached) {}
  const char& operator*() const { return *at_; }
  Counting& operator++() {
    *reached_ = ++at_;
    return *this;
  }
  bool operator==(const Counting& other) const { return at_ == other.at_; }

 private:
  const char* at_;
  const char** reached_;
};

// Builds the value itself, for three reasons: the library keeps the last of two equal keys in
// silence, does not bound the depth, and finds every key of an ordered object by walking it, which
// makes a table of n keys cost n^2.
template <class Value>
class Builder : public nlohmann::json_sax<Value> {
 public:
  Builder(std::string_view text, const std::string& where, int64_t first_line)
      : text_(text), where_(where), first_line_(first_line), reached_(text.data()) {}

  Value parse() {
    // The library takes a zero byte for the end of its input.
    if (const size_t zero = text_.find('\0'); zero != text_.npos) {
      throw Error(ErrorKind::format, "not valid JSON: a zero byte", place(zero));
    }
    const char* end = text_.data() + text_.size();
    (void)Value::sax_parse(Counting(text_.data(), &reached_), Counting(end, &reached_), this);
    return std::move(root_);
  }

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(typename Value::number_integer_t value) override { return put(value); }
  bool number_unsigned(typename Value::number_unsigned_t value) override { return put(value); }
  bool number_float(typename Value::number_float_t value, const std::string&) override {
    return put(value);
  }
  bool string(std::string& value) override { return put(std::move(value)); }
  bool binary(typename Value::binary_t&) override { return false; }  // not in text
  bool start_object(size_t) override { return open(Value::object()); }
  bool start_array(size_t) override { return open(Value::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(std::string& key) override {
    if (!open_.back().keys.insert(key).second) fail(str("the key '", key, "' occurs twice"));
    open_.back().key = std::move(key);
    return true;
  }
  bool parse_error(size_t byte, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // Messages of the library start with its own tag in brackets, then with a line that it counts
    // from the start of the text.
    std::string message = error.what();
    if (const auto end = message.find("] "); end != message.npos) message.erase(0, end + 2);
    if (const auto end = message.find(": "); message.starts_with("parse error"))
      message.erase(0, end == message.npos ? 0 : end + 2);
    throw Error(ErrorKind::format, str("not valid JSON: ", message), place(byte ? byte - 1 : 0));
  }

 private:
  struct Open {
    Value* value;
    std::string key;
    std::unordered_set<std::string> keys;
  };

  [[noreturn]] void fail(const std::string& message) const {
    const auto byte = static_cast<size_t>(reached_ - text_.data());
    throw Error(ErrorKind::format, message, place(byte ? byte - 1 : 0));
  }
  std::string place(size_t byte) const { return line_and_column(text_, byte, where_, first_line_); }

  bool put(Value value) {
    (void)add(std::move(value));
    return true;
  }
  Value* add(Value value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Open& parent = open_.back();
    if (parent.value->is_array()) {
      parent.value->push_back(std::move(value));
      return &parent.value->back();
    }
    auto& object = parent.value->template get_ref<typename Value::object_t&>();
    if constexpr (requires { object.emplace_back(parent.key, std::move(value)); }) {
      return &object.emplace_back(std::move(parent.key), std::move(value)).second;
    } else {
      return &object.emplace(std::move(parent.key), std::move(value)).first->second;
    }
  }
  // Pointers to open values stay good: only the innermost one grows.
  bool open(Value value) {
    if (open_.size() >= kMaxDepth) fail(str("JSON nested deeper than ", kMaxDepth));
    Value* made = add(std::move(value));
    open_.push_back({made, {}, {}});
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  std::string_view text_;
  const std::string& where_;
  int64_t first_line_;
  const char* reached_;
  Value root_;
  std::vector<Open> open_;
};

}  // namespace

Json parse_json(std::string_view text, const std::string& where, int64_t first_line) {
  return Builder<Json>(text, where, first_line).parse();
}

Json read_json(const fs::path& path) {
  return parse_json(read_file(path), path.string());
}

nlohmann::json read_json_table(const fs::path& path) {
  const std::string text = read_file(path), where = path.string();
  return Builder<nlohmann::json>(text, where, 1).parse();
}

}  // namespace smidgen
