#include <algorithm>

#include "smidgen/base/error.h"
#include "smidgen/base/fs.h"
#include "smidgen/cli/data_sets.h"
#include "smidgen/io/json_file.h"
#include "smidgen/io/model_files.h"
#include "smidgen/text/dataset_row.h"
#include "smidgen/text/row_source.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {

namespace {

// Characters of UTF-8, not bytes; the JSON reader has checked the encoding.
int64_t characters(const std::string& text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

// Nearest-rank quantiles: every number shown is the length of some row.
Json quantiles(std::vector<int64_t> lengths) {
  std::sort(lengths.begin(), lengths.end());
  const auto at = [&](int percent) {
    return lengths[(lengths.size() * static_cast<size_t>(percent) + 99) / 100 - 1];
  };
  return {{"min", lengths.front()},
          {"p50", at(50)},
          {"p90", at(90)},
          {"p99", at(99)},
          {"max", lengths.back()}};
}

}  // namespace

Json show_data(const fs::path& file, const std::string& model) {
  std::shared_ptr<const Tokenizer> tokenizer;
  if (!model.empty()) tokenizer = load_tokenizer(open_model(model));
  RowSource source(file);
  std::vector<int64_t> lengths, tokens;
  std::string format, first_where;
  Json first;
  for (RawRow raw; source.next(raw); source.release()) {
    const std::string where = str(file.string(), ":", raw.line);
    const Json row =
        source.json() ? parse_json(raw.text, file.string(), raw.line) : Json{{"text", raw.text}};
    const auto [row_form, texts] = row_texts(row, where);
    const std::string form = to_string(row_form);
    if (format.empty()) {
      format = form, first_where = where, first = row;
    } else if (form != format) {
      throw Error(ErrorKind::format, str("a row of the form ", form, " in a file of ", format),
                  where, str("the first row is at ", first_where));
    }
    int64_t length = 0, count = 0;
    for (const std::string& part : texts) {
      length += characters(part);
      if (tokenizer)
        count += static_cast<int64_t>(tokenizer->encode(part, {.add_special = false}).size());
    }
    lengths.push_back(length);
    tokens.push_back(count);
  }
  if (lengths.empty()) throw Error(ErrorKind::data, "there is no row", file.string());
  return {{"file", file.string()},
          {"rows", lengths.size()},
          {"format", format},
          {"characters", quantiles(lengths)},
          {"tokens", tokenizer ? quantiles(tokens) : Json(nullptr)},
          {"first", first}};
}

std::string describe_data(const Json& shown) {
  std::string out = str(shown["file"].get<std::string>(), ": ", shown["rows"].get<int64_t>(),
                        " rows of ", shown["format"].get<std::string>(), "\n\n");
  out += "                   min      p50      p90      p99      max\n";
  for (const char* unit : {"characters", "tokens"}) {
    if (shown[unit].is_null()) continue;
    std::string line = unit;
    line.resize(13, ' ');
    for (const auto& item : shown[unit].items()) {
      const std::string value = std::to_string(item.value().get<int64_t>());
      line += std::string(value.size() < 9 ? 9 - value.size() : 1, ' ') + value;
    }
    out += line + "\n";
  }
  out += "\nfirst row\n";
  // Indented JSON: text of a file reaches a terminal only with its control characters escaped.
  return out + shown["first"].dump(2, ' ', true) + "\n";
}

}  // namespace smidgen
