#include <algorithm>
#include <exception>
#include <thread>

#include "smidgen/base/error.h"
#include "smidgen/base/fs.h"
#include "smidgen/base/threads.h"
#include "smidgen/cli/command.h"
#include "smidgen/io/json_file.h"
#include "smidgen/io/model_files.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {
namespace {

struct TokenizeConfig {
  std::string model;
  std::optional<std::string> text;
  std::filesystem::path file;
  std::optional<std::vector<int64_t>> decode;
  std::filesystem::path decode_file;
  bool lines = false;
  bool no_special = false;
};
template <class V>
void fields(V& v, TokenizeConfig& c) {
  v("model", c.model,
    {.help = "Model folder or GGUF file whose tokenizer to use", .required = true});
  v("text", c.text, {.help = "Text to turn into ids"});
  v("file", c.file, {.help = "File with the text"});
  v("lines", c.lines,
    {.help = "Each line of the file is a text of its own: prints a JSON list of ids per line, on "
             "all threads"});
  v("decode", c.decode, {.help = "Ids to turn into text", .min = 0, .max = INT32_MAX});
  v("decode_file", c.decode_file,
    {.help = "File with a JSON list of ids per line: prints a JSON string per line"});
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

// Threads for the lines of a file; this verb never loads the core library and its pool.
int pool_size = 1;
void run_on_threads(int64_t count, const std::function<void(int64_t)>& task) {
  std::vector<std::exception_ptr> failures(static_cast<size_t>(count));
  std::vector<std::thread> threads;
  const auto guarded = [&](int64_t i) {
    try {
      task(i);
    } catch (...) {
      failures[static_cast<size_t>(i)] = std::current_exception();
    }
  };
  for (int64_t i = 1; i < count; ++i) threads.emplace_back(guarded, i);
  guarded(0);
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

// Prints answer(line) for every line of the file, in order; blocks keep memory bounded.
void each_line(const fs::path& path, int threads,
               const std::function<std::string(std::string_view, size_t number)>& answer) {
  constexpr size_t kBlock = 64 * 1024;  // lines
  constexpr int64_t kGrain = 256;
  pool_size = threads;
  install_thread_pool({run_on_threads, [] { return pool_size; }});
  const MappedFile file(path);
  const std::string_view all(reinterpret_cast<const char*>(file.bytes().data()),
                             file.bytes().size());
  std::vector<std::string_view> lines;
  std::vector<std::string> answers;
  for (size_t at = 0, number = 0; at < all.size(); number += lines.size()) {
    lines.clear();
    while (at < all.size() && lines.size() < kBlock) {
      const size_t end = std::min(all.find('\n', at), all.size());
      lines.push_back(all.substr(at, end - at));
      at = end + 1;
    }
    answers.assign(lines.size(), "");
    parallel_for(static_cast<int64_t>(lines.size()), kGrain, [&](int64_t begin, int64_t end) {
      for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i)
        answers[i] = answer(lines[i], number + i + 1);
    });
    std::string out;
    for (const std::string& text : answers) (out += text) += '\n';
    print_text(out);
  }
}

std::string ids_json(const std::vector<int32_t>& ids) {
  std::string out = "[";
  for (const int32_t id : ids) {
    if (out.size() > 1) out += ',';
    out += std::to_string(id);
  }
  return out + "]";
}

std::vector<int32_t> ids_of(std::string_view line, const std::string& where) {
  const Json list = parse_json(line, where);
  if (!list.is_array()) throw Error(ErrorKind::data, "not a list of ids", where);
  std::vector<int32_t> ids;
  for (const Json& id : list) {
    if (!id.is_number_integer() || id < 0 || id > INT32_MAX)
      throw Error(ErrorKind::data, str("not a token id: ", id.dump()), where);
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

void run_tokenize(const Invocation& invocation) {
  const auto config = read_config<TokenizeConfig>(invocation.recipe.values);
  const int given = config.text.has_value() + !config.file.empty() + config.decode.has_value() +
                    !config.decode_file.empty();
  if (given != 1) {
    throw Error(ErrorKind::usage,
                str(given == 0 ? "nothing" : "more than one thing", " to tokenize"), "",
                "give one of --text, --file, --decode, --decode-file");
  }
  if (config.lines && config.file.empty())
    throw Error(ErrorKind::usage, "--lines without --file", "", "--lines reads a file line by line");
  const auto tokenizer = load_tokenizer(open_model(config.model));
  const bool special = !config.no_special;
  if (config.lines)
    return each_line(config.file, invocation.threads, [&](std::string_view line, size_t) {
      return ids_json(tokenizer->encode(line, {.add_special = special}));
    });
  if (!config.decode_file.empty())
    return each_line(config.decode_file, invocation.threads,
                     [&](std::string_view line, size_t number) {
                       return shown(tokenizer->decode(
                           ids_of(line, str(config.decode_file.string(), ":", number)), special));
                     });
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
