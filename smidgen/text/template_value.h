// Values of the template language. Lists and dicts are immutable (transformers' sandbox forbids
// changing them), so they are shared and can hold no cycle; namespaces are owned by the rendering
// and referred to by pointer, so that a cycle through one is never walked.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "smidgen/base/json.h"

namespace smidgen::tmpl {

class Value;
using List = std::vector<Value>;
using Dict = std::vector<std::pair<Value, Value>>;  // in the order of insertion, keys distinct
using Named = std::vector<std::pair<std::string, Value>>;
struct Undefined {
  std::string name;  // what was looked for
};
struct None {};
struct Tuple;
struct View;
struct Callable;
struct Loop;

// A namespace(): the only value that changes.
struct Slots {
  Named items;
};

constexpr uint32_t kMaxValueDepth = 500;
constexpr uint64_t kMaxValueSize =
    uint64_t{1} << 28;  // bytes of text and 4 for everything else, each as often as it occurs

class Value {
 public:
  using Data =
      std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const std::string>,
                   std::shared_ptr<const List>, std::shared_ptr<const Tuple>,
                   std::shared_ptr<const Dict>, std::shared_ptr<const View>, Slots*,
                   std::shared_ptr<Loop>, std::shared_ptr<const Callable>>;
  Value() : data_(Undefined{}) {}
  Value(Data data) : data_(std::move(data)) {}
  static Value undefined(std::string name) { return Data(Undefined{std::move(name)}); }
  static Value none() { return Data(None{}); }
  static Value boolean(bool value) { return Data(value); }
  static Value integer(int64_t value) { return Data(value); }
  static Value number(double value) { return Data(value); }
  static Value text(std::string value);
  // Text that the filters `safe` and `escape` made: joined to plain text it escapes that for HTML.
  static Value markup(std::string value);
  // These four throw resource for a value deeper than kMaxValueDepth or larger than kMaxValueSize:
  // str(), repr(), equals() and the destructor recurse, and a list that holds one list twice, sixty
  // times over, has 2^60 leaves in 60 objects.
  static Value list(List value);
  static Value tuple(List value);
  static Value dict(Dict value);
  static Value view(View value);
  static Value slots(Slots* value) { return Data(value); }
  // `bound` is what the function keeps alive.
  static Value callable(Callable value, const Value* bound = nullptr);
  static Value from_json(const Json& json);

  template <class T>
  bool is() const {
    return std::holds_alternative<T>(data_);
  }
  bool is_undefined() const { return is<Undefined>(); }
  bool is_none() const { return is<None>(); }
  bool is_bool() const { return is<bool>(); }
  bool is_int() const { return is<int64_t>(); }
  bool is_float() const { return is<double>(); }
  bool is_number() const { return is_int() || is_float() || is_bool(); }
  bool is_text() const { return is<std::shared_ptr<const std::string>>(); }
  bool is_list() const { return is<std::shared_ptr<const List>>(); }
  bool is_tuple() const { return is<std::shared_ptr<const Tuple>>(); }
  bool is_dict() const { return is<std::shared_ptr<const Dict>>(); }
  bool is_view() const { return is<std::shared_ptr<const View>>(); }
  bool is_markup() const { return markup_; }
  bool is_slots() const { return is<Slots*>(); }
  bool is_loop() const { return is<std::shared_ptr<Loop>>(); }
  bool is_callable() const { return is<std::shared_ptr<const Callable>>(); }

  const std::string& name() const { return std::get<Undefined>(data_).name; }
  bool as_bool() const { return std::get<bool>(data_); }
  int64_t as_int() const { return is_bool() ? as_bool() : std::get<int64_t>(data_); }
  double as_double() const {
    return is_float() ? std::get<double>(data_) : static_cast<double>(as_int());
  }
  const std::string& as_text() const {
    return *std::get<std::shared_ptr<const std::string>>(data_);
  }
  const List& items() const;  // of a list or tuple
  const Dict& as_dict() const { return *std::get<std::shared_ptr<const Dict>>(data_); }
  const View& as_view() const { return *std::get<std::shared_ptr<const View>>(data_); }
  Slots& as_slots() const { return *std::get<Slots*>(data_); }
  Loop& as_loop() const { return *std::get<std::shared_ptr<Loop>>(data_); }
  const Callable& as_callable() const { return *std::get<std::shared_ptr<const Callable>>(data_); }
  const Value* find(const Value& key) const;  // of a dict; null when absent
  const Value* find(const std::string& key) const;

  uint64_t size() const { return size_; }
  bool truthy() const;
  const char* type() const;               // as Python names it, for messages
  std::string str() const;                // Python's str()
  std::string repr() const;               // Python's repr()
  bool equals(const Value& other) const;  // Python's ==
  bool hashable() const;                  // may be a key
  bool same(const Value& other) const;    // Python's `is`, where that does not depend on caching

 private:
  // Throws when it is too much.
  void hold(const Value& item);

  Data data_;
  uint32_t depth_ = 0;
  bool markup_ = false;
  uint64_t size_ = 4;
};

struct Tuple {
  List items;
};

// What can be walked but is no list: the generator of a filter such as map, the items() of a dict,
// a range. A generator is walked once: what was taken is gone, it has no length and is always true.
struct View {
  enum class Kind { generator, dict_view, range };
  Kind kind = Kind::generator;
  std::string shown = {};  // str()
  List items = {};
  mutable size_t taken = 0;
};

struct Arguments {
  List plain;
  Named named;
};

struct Callable {
  std::string name;
  std::function<Value(Arguments&)> call;
};

struct JsonStyle {
  std::optional<std::string> indent = {};  // of one level
  std::string item = ", ", key = ": ";
  bool ascii = false, sorted = false;
};
// Python's json.dumps. Throws std::string with the type of a value that has no JSON form.
std::string to_json(const Value& value, const JsonStyle& style, int depth = 0);

size_t count_characters(const std::string& text);

}  // namespace smidgen::tmpl
