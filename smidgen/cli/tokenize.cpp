#include <algorithm>

#include "smidgen/base/error.h"
#include "smidgen/base/fs.h"
#include "smidgen/cli/command.h"
#include "smidgen/io/model_files.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {
namespace {

struct TokenizeConfig {
  std::string model;
  std::optional<std::string> text;
  std::filesystem::path file;
  std::optional<std::vector<int64_t>> decode;
  bool no_special = false;
};
template <class V>
void fields(V& v, TokenizeConfig& c) {
  v("model", c.model,
    {.help = "Model folder or GGUF file whose tokenizer to use", .required = true});
  v("text", c.text, {.help = "Text to turn into ids"});
  v("file", c.file, {.help = "File with the text"});
  v("decode", c.decode, {.help = "Ids to turn into text", .min = 0, .max = INT32_MAX});
  v("no_special", c.no_special, {.help = "Neither add special tokens nor skip them when decoding"});
}

// A token's bytes as a JSON string; what is not UTF-8 shows as U+FFFD.
std::string shown(std::string_view bytes) {
  return Json(std::string(bytes)).dump(-1, ' ', false, Json::error_handler_t::replace);
}

void print_ids(const Tokenizer& tokenizer, const std::string& text, const Invocation& invocation,
               bool special) {
  const Encoding encoding = tokenizer.encode_with_offsets(text, {.add_special = special});
  if (invocation.output.json) return print_json({{"ids", encoding.ids}});
  std::string table = "    id  bytes  token\n";
  for (size_t i = 0; i < encoding.ids.size(); ++i) {
    const int32_t id = encoding.ids[i];
    std::string number = str(id), span = str(encoding.ends[i] - encoding.begins[i]);
    number.insert(0, number.size() < 6 ? 6 - number.size() : 0, ' ');
    span.insert(0, span.size() < 6 ? 6 - span.size() : 0, ' ');
    table += str(number, " ", span, "  ", shown(tokenizer.bytes(id)),
                 tokenizer.is_special(id) ? "  special" : "", "\n");
  }
  print_text(
      str(table, counted(encoding.ids.size(), "token"), ", ", counted(text.size(), "byte"), "\n"));
}

void run_tokenize(const Invocation& invocation) {
  const auto config = read_config<TokenizeConfig>(invocation.recipe.values);
  const int given = config.text.has_value() + !config.file.empty() + config.decode.has_value();
  if (given != 1) {
    throw Error(ErrorKind::usage,
                str(given == 0 ? "nothing" : "more than one thing", " to tokenize"), "",
                "give one of --text, --file, --decode");
  }
  const auto tokenizer = load_tokenizer(open_model(config.model));
  if (!config.decode) {
    const std::string text = config.text ? *config.text : read_file(config.file);
    return print_ids(*tokenizer, text, invocation, !config.no_special);
  }
  const std::vector<int32_t> ids(config.decode->begin(), config.decode->end());
  const std::string text = tokenizer->decode(ids, !config.no_special);
  if (invocation.output.json) return print_json({{"text", text}});
  print_text(text + "\n");
}

const VerbEntry kTokenize([] {
  return Verb{
      "tokenize",
      "Turn text into token ids, or back",
      describe<TokenizeConfig>(),
      "",
      Json::array(
          {Json::array({"smidgen tokenize --model M --text 'Hello' --json", "{\"ids\":[...]}"}),
           Json::array({"smidgen tokenize --model M --decode 1,2,3", "back to text"})}),
      run_tokenize};
});

}  // namespace
}  // namespace smidgen
