#include "smidgen/io/json_file.h"

#include <set>
#include <vector>

namespace smidgen {

namespace {

constexpr int kMaxDepth = 200;

std::string line_and_column(std::string_view text, size_t byte, const std::string& where,
                            int64_t first_line) {
  size_t line = static_cast<size_t>(first_line), column = 1;
  for (size_t i = 0; i < byte && i < text.size(); ++i) {
    column = text[i] == '\n' ? 1 : column + 1;
    line += text[i] == '\n';
  }
  return str(where, ":", line, ":", column);
}

template <class Value>
Value parse(std::string_view text, const std::string& where, int64_t first_line = 1) {
  std::vector<std::set<std::string>> open;
  const auto check = [&](int depth, typename Value::parse_event_t event, Value& value) {
    using Event = typename Value::parse_event_t;
    if (depth > kMaxDepth) {
      throw Error(ErrorKind::format, str("JSON nested deeper than ", kMaxDepth), where);
    }
    if (event == Event::object_start) {
      open.emplace_back();
    } else if (event == Event::object_end) {
      open.pop_back();
    } else if (event == Event::key) {
      const auto& key = value.template get_ref<const std::string&>();
      if (!open.back().insert(key).second) {
        throw Error(ErrorKind::format, str("the key '", key, "' occurs twice"), where);
      }
    }
    return true;
  };
  try {
    return Value::parse(text, check);
  } catch (const nlohmann::json::exception& e) {
    // Messages of the library start with its own tag in brackets, then with a line that it counts
    // from the start of `text`.
    std::string message = e.what();
    if (const auto end = message.find("] "); end != std::string::npos) message.erase(0, end + 2);
    std::string place = where;
    if (const auto* at = dynamic_cast<const nlohmann::json::parse_error*>(&e)) {
      place = line_and_column(text, at->byte ? at->byte - 1 : 0, where, first_line);
      if (const auto end = message.find(": "); message.starts_with("parse error"))
        message.erase(0, end == std::string::npos ? 0 : end + 2);
    }
    throw Error(ErrorKind::format, str("not valid JSON: ", message), place);
  }
}

}  // namespace

Json parse_json(std::string_view text, const std::string& where, int64_t first_line) {
  return parse<Json>(text, where, first_line);
}

Json read_json(const fs::path& path) {
  return parse<Json>(read_file(path), path.string());
}

nlohmann::json read_json_table(const fs::path& path) {
  return parse<nlohmann::json>(read_file(path), path.string());
}

}  // namespace smidgen
