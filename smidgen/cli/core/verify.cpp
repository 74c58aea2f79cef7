// smidgen verify: whether two models compute the same. Exit code 0: they do, 1: they do not.
#include "smidgen/convert/verify.h"

#include <cmath>

#include "smidgen/base/console.h"
#include "smidgen/base/fs.h"
#include "smidgen/cli/core/named_model.h"
#include "smidgen/cli/core/verb.h"
#include "smidgen/report/svg.h"

namespace smidgen {

namespace {

struct VerifyConfig {
  std::string first, second;
  std::string base;
  std::optional<std::string> text;
  std::optional<fs::path> file;
  double tolerance = kLosslessBound;
  std::string dtype = "fp32";
  std::vector<std::string> allow_config_key;
  bool allow_other_base = false;
};

template <class V>
void fields(V& v, VerifyConfig& c) {
  v("first", c.first,
    {.help = "Model folder, GGUF file, BASE+ADAPTER, or with --base an adapter", .required = true});
  v("second", c.second, {.help = "The same", .required = true});
  v("base", c.base, {.help = "Model that adapters named alone are on"});
  v("text", c.text, {.help = "A text to compare on, beside the fixed one"});
  v("file", c.file, {.help = "File with a text to compare on"});
  v("tolerance", c.tolerance,
    {.help = "Largest difference of a logit, over the largest logit, that counts as the same",
     .min = 0});
  v.choice("dtype", c.dtype, {"fp32", "bf16"}, {.help = "Arithmetic of both"});
  v("allow_config_key", c.allow_config_key,
    {.help = "Keys of adapter_config.json that are let through unread"});
  v("allow_other_base", c.allow_other_base,
    {.help = "Use an adapter on another base than it was trained on"});
}

LoadedModel load(const VerifyConfig& config, const std::string& spec) {
  return open(
      {.choice = named_model({config.base, config.allow_config_key, config.allow_other_base}, spec),
       .dtype = config.dtype,
       .base_format = "stored"});
}

struct Passage {
  std::string name;
  std::vector<int32_t> ids;
};

constexpr size_t kWindow = 256;  // tokens that are compared at a time: two sets of logits in memory

// One row of the answer: a text, its windows taken together.
Json compare_passage(const LoadedModel& a, const LoadedModel& b, const Passage& passage) {
  const auto window = std::min(kWindow, static_cast<size_t>(a.model->context()));
  Verification all;
  double kl = 0, same = 0;
  for (size_t at = 0; at < passage.ids.size(); at += window) {
    const auto ids = std::span(passage.ids).subspan(at, std::min(window, passage.ids.size() - at));
    const Verification v = compare(*a.model, *b.model, ids, a.slot, b.slot);
    const auto n = static_cast<double>(v.positions);
    all.positions += v.positions;
    all.not_finite_before += v.not_finite_before;
    all.not_finite_after += v.not_finite_after;
    // NaN stays: nothing is larger.
    if (std::isnan(v.max_abs) || v.max_abs > all.max_abs) all.max_abs = v.max_abs;
    if (std::isnan(v.relative) || v.relative > all.relative) all.relative = v.relative;
    kl += v.mean_kl * n;
    same += v.same_top * n;
  }
  all.mean_kl = kl / static_cast<double>(all.positions);
  all.same_top = same / static_cast<double>(all.positions);
  Json row = {{"text", passage.name}};
  const Json figures = all.to_json();
  for (const char* key : {"positions", "max_abs", "relative", "mean_kl", "same_top"})
    row[key] = figures[key];
  row["not_finite"] = {all.not_finite_before, all.not_finite_after};
  return row;
}

int run_verify(const Invocation& invocation) {
  const auto config = read_config<VerifyConfig>(invocation.recipe.values);
  LoadedModel a = load(config, config.first), b = load(config, config.second);
  const bool words = has_tokenizer(a.files);
  std::vector<std::pair<std::string, std::string>> texts;
  if (words) texts.emplace_back("fixed", kVerificationText);
  if (config.text) texts.emplace_back("given", *config.text);
  if (config.file) texts.emplace_back(config.file->string(), read_file(*config.file));
  if (!words && texts.size() > 0)
    throw Error(ErrorKind::unsupported, "the model has no tokenizer", config.first,
                "leave --text and --file out");
  bool same_ids = true;
  std::vector<Passage> passages;
  if (!words) passages.push_back({"fixed", verification_ids(*a.model, nullptr)});
  for (const auto& [name, text] : texts) {
    passages.push_back({name, a.tokenizer().encode(text)});
    if (passages.back().ids.empty())
      throw Error(ErrorKind::usage, "the text is empty: it gives no token", name);
    if (has_tokenizer(b.files))
      same_ids = same_ids && b.tokenizer().encode(text) == passages.back().ids;
  }
  Json rows = Json::array();
  bool same = same_ids;
  for (const Passage& passage : passages) {
    rows.push_back(compare_passage(a, b, passage));
    same = same && rows.back()["relative"].get<double>() <= config.tolerance;
  }
  if (invocation.output.json) {
    print_json(
        {{"same", same}, {"tolerance", config.tolerance}, {"same_ids", same_ids}, {"texts", rows}});
    return same ? 0 : 1;
  }
  std::string out;
  if (!same_ids) out += "the tokenizers give other ids; logits are of the first one's\n";
  for (const Json& row : rows) {
    out += str(row["text"].get<std::string>(), ": ", row["positions"].dump(),
               " positions, logits differ by ", format_number(row["max_abs"].get<double>()),
               " at most, relative ", format_number(row["relative"].get<double>()), ", mean KL ",
               format_number(row["mean_kl"].get<double>()), ", same first token ",
               format_number(100 * row["same_top"].get<double>()), " %\n");
    for (const size_t i : {0, 1}) {
      if (const auto count = row["not_finite"][i].get<int64_t>())
        out += str("  ", counted(count, "logit"), " of ", i ? config.second : config.first,
                   count == 1 ? " is no number\n" : " are no numbers\n");
    }
  }
  out += same ? "the same" : "not the same";
  console().print(str(out, ", to a tolerance of ", format_number(config.tolerance), "\n"));
  return same ? 0 : 1;
}

}  // namespace

CoreVerb verify_verb() {
  return {.name = "verify",
          .summary = "Tell whether two models compute the same, to what tolerance",
          .examples = Json::array(
              {Json::array({"smidgen verify model+run/adapter merged --tolerance 1e-3",
                            "a merged model against its parts"}),
               Json::array({"smidgen verify model model.gguf --text 'Once upon a time' --json",
                            "a conversion, on a text of one's own too"})}),
          .describe = [] { return describe<VerifyConfig>(); },
          .positional = "first second",
          .answer = run_verify};
}

}  // namespace smidgen
