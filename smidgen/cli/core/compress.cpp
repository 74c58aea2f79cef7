// smidgen compress: an adapter, or the difference of two models, in a few bits a value.
#include "smidgen/delta/compress/compress.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <functional>
#include <optional>
#include <sstream>

#include "smidgen/base/console.h"
#include "smidgen/base/log.h"
#include "smidgen/base/progress.h"
#include "smidgen/base/schema.h"
#include "smidgen/cli/core/delta_score.h"
#include "smidgen/cli/core/verb.h"
#include "smidgen/delta/compress/alpha.h"
#include "smidgen/delta/compress/balance.h"
#include "smidgen/delta/compress/curve.h"
#include "smidgen/delta/merge/merge_run.h"
#include "smidgen/io/model_files.h"

namespace smidgen {

namespace {

struct CompressConfig {
  fs::path from, out;
  std::optional<std::string> base;
  std::string codec = "rice";
  CompressMode mode = CompressMode::ternary;
  double density = 0.2;
  std::string alpha = "norm";
  bool reference = false;
  bool balance = true;
  std::vector<double> curve;
  DataChoice data;
};

template <class V>
void fields(V& v, CompressConfig& c) {
  v("from", c.from,
    {.help = "Adapter folder, or the folder of a fine-tuned model", .required = true});
  v("base", c.base,
    {.help = "The model that it was tuned from. For a fine-tuned model always; for an adapter only "
             "to measure on data"});
  v("out", c.out, {.help = "Folder to write; it must be new or empty", .required = true});
  v.choice("codec", c.codec, "codec", {.help = "How the values are written"});
  v.choice("mode", c.mode,
           {{"ternary", CompressMode::ternary},
            {"stc", CompressMode::stc},
            {"prune", CompressMode::prune}},
           {.help = "What becomes of a kept value: sign times alpha sigma; sign times the kept "
                    "values' mean magnitude; what it was"});
  v("density", c.density,
    {.help = "Share of the values that is kept, the largest", .min = 1e-4, .max = 1});
  v("alpha", c.alpha,
    {.help = "Scale of the signs in standard deviations of the update: a number; norm keeps the "
             "update's norm; tuned takes the best on the data"});
  v("reference", c.reference,
    {.help = "Keep what ComPEFT's code keeps: one value more, all that tie with the last, and "
             "factors of LoRA as they were tuned"});
  v("balance", c.balance,
    {.help = "Bring the two factors of each LoRA module to one spread first, which leaves their "
             "product as it is: one threshold is for all values, and B's are smaller"});
  v("curve", c.curve,
    {.help = "Densities to compare as well; writes curve.html and curve.json beside the codes",
     .min = 1e-4,
     .max = 1});
  fields(v, c.data, false);  // for --alpha tuned, and for the loss of the curve
}

struct Alpha {
  bool tuned = false;
  std::optional<double> value;
};

Alpha parse_alpha(const CompressConfig& c) {
  if (c.alpha == "norm") return {};
  if (c.alpha == "tuned") return {.tuned = true};
  double value = 0;
  const char* const end = c.alpha.data() + c.alpha.size();
  const auto [at, code] = std::from_chars(c.alpha.data(), end, value);
  if (code != std::errc() || at != end || !(value > 0 && value <= 1e6)) {
    throw Error(ErrorKind::usage, str("alpha is '", c.alpha, "'"), "alpha",
                "a number above 0, or one of: norm, tuned");
  }
  return {.value = value};
}

// What does not go together, before anything is read.
void check(const CompressConfig& c, const Alpha& alpha) {
  const CompressConfig standard;
  const bool values = codecs().find(c.codec).values() != nullptr;
  if (values && (c.mode != standard.mode || c.alpha != standard.alpha ||
                 c.density != standard.density || c.reference || !c.curve.empty())) {
    throw Error(ErrorKind::usage, str("the codec ", c.codec, " keeps every value"), "codec",
                "mode, density, alpha, reference and curve are for masks, rice and rans");
  }
  if (c.mode != CompressMode::ternary && c.alpha != standard.alpha) {
    throw Error(ErrorKind::usage, "alpha scales ternary codes, and this mode has its own scale",
                "alpha", "leave it out, or use --mode ternary");
  }
  if (alpha.tuned && c.data.files.empty())
    throw Error(ErrorKind::usage, "an alpha is tuned on data, and there is none", "alpha",
                "--data, of the kind that eval takes");
  if (!c.data.files.empty() && !c.base)
    throw Error(ErrorKind::usage, "a loss is measured with the base model", "data", "--base");
  if (!c.data.files.empty() && !alpha.tuned && c.curve.empty())
    throw Error(ErrorKind::usage, "the data would not be used", "data",
                "it is for --alpha tuned and --curve");
  if (c.data.files.empty()) refuse_data_settings(c.data, "it is for --data");
  std::error_code ignored;
  if (path_exists(c.out) && (!fs::is_directory(c.out, ignored) || !fs::is_empty(c.out, ignored)))
    throw Error(ErrorKind::usage, "the folder exists and is not empty", c.out.string(),
                "choose another name, or remove it first");
  require_outside(c.from.string(), c.out);
  if (c.base) require_outside(*c.base, c.out);
}

// Value codecs have a scale for every row and need none.
bool balances(const CompressConfig& c) {
  return c.balance && !c.reference && codecs().find(c.codec).signs();
}

FlatVector open_vector(const CompressConfig& c) {
  const bool model = path_exists(c.from / "config.json");
  if (!model) return adapter_vector(c.from);
  if (!c.base) {
    throw Error(ErrorKind::usage, "this is a model, and its update is the difference from a base",
                c.from.string(), "name the base: --base");
  }
  return model_vector(*c.base, c.from.string());
}

Json report_json(const Compressed& compressed, const std::vector<AlphaScore>& tried) {
  const CompressReport& r = compressed.report;
  const Json& json = compressed.contents.json;
  Json out = {{"elements", r.elements},
              {"kept", r.kept},
              {"bits", r.bits()},
              {"code_bytes", r.code_bytes},
              {"exact_bytes", r.exact_bytes},
              {"head_bytes", r.head_bytes},
              {"source_bytes", r.source_bytes},
              {"relative_error", r.error}};
  if (json.contains("sigma")) {
    out["density"] = r.density();
    out["entropy"] = r.entropy();
    out["sigma"] = r.sigma;
    out["fit"] = r.fit;
  }
  if (json.contains("scale")) {
    out["scale"] = r.scale;
    out["alpha"] = json["alpha"];
  }
  for (const AlphaScore& score : tried)
    out["tried"].push_back({{"alpha", score.alpha}, {"loss", score.score}});
  out["tensors"] = Json::array();
  for (const Json& tensor : json["tensors"]) {
    int64_t elements = 1;
    for (const Json& size : tensor["shape"]) elements *= size.get<int64_t>();
    out["tensors"].push_back(
        {{"name", tensor["name"]},
         {"density", tensor["kept"].get<double>() / static_cast<double>(elements)},
         {"bits", 8 * tensor["bytes"].get<double>() / static_cast<double>(elements)}});
  }
  if (json.contains("unmoved")) out["unmoved"] = json["unmoved"];
  return out;
}

std::string short_number(double value, int digits = 4) {
  std::ostringstream out;
  out.precision(digits);
  out << value;
  return out.str();
}

void show(const Compressed& compressed, const CompressConfig& c, const Json& report,
          const std::vector<AlphaScore>& tried) {
  const CompressReport& r = compressed.report;
  if (report.contains("unmoved")) {
    const Json& unmoved = report["unmoved"];
    std::vector<std::string> names = unmoved.get<std::vector<std::string>>();
    log_line(counted(names.size(), "tensor"),
             " did not move and take no part: ", join(names, ", ", 3));
  }
  for (const AlphaScore& score : tried)
    log_line("alpha ", short_number(score.alpha), "  loss ", short_number(score.score, 7));
  if (report["balanced"] > 0)
    log_line("the factors of ", counted(report["balanced"].get<size_t>(), "module"),
             " were brought to one spread");
  if (report.contains("density")) {
    // The tensors that keep most and least.
    const auto& tensors = report["tensors"];
    const auto [least, most] =
        std::minmax_element(tensors.begin(), tensors.end(), [](const Json& a, const Json& b) {
          return a["density"].get<double>() < b["density"].get<double>();
        });
    log_line(r.kept, " of ", r.elements, " values kept; by tensor from ",
             short_number((*least)["density"].get<double>()), " (",
             (*least)["name"].get<std::string>(), ") to ",
             short_number((*most)["density"].get<double>()), " (",
             (*most)["name"].get<std::string>(), ")");
    log_line("entropy of the kept signs ", short_number(r.entropy()), " bits a value, written ",
             short_number(r.bits()));
  } else {
    log_line(r.elements, " values in ", short_number(r.bits()), " bits each");
  }
  if (report.contains("scale")) {
    log_line("scale ", short_number(r.scale),
             r.sigma > 0 ? str(" = ", short_number(r.alpha()), " sigma") : std::string(),
             "; of least squared error is ", short_number(r.fit));
  }
  log_line("relative error ", short_number(r.error));
  const auto size = [](uint64_t bytes) { return bytes_text(static_cast<int64_t>(bytes)); };
  log_line("wrote ", c.out.string(), ": ", size(r.bytes()), " (codes ", size(r.code_bytes),
           ", names and shapes ", size(r.head_bytes),
           r.exact_bytes ? str(", exact tensors ", size(r.exact_bytes)) : std::string(), "), ",
           short_number(static_cast<double>(r.source_bytes) / static_cast<double>(r.bytes())),
           " times smaller than ", bytes_text(static_cast<int64_t>(r.source_bytes)));
}

void run_compress(const Invocation& invocation) {
  const auto config = read_config<CompressConfig>(invocation.recipe.values);
  const Alpha alpha = parse_alpha(config);
  check(config, alpha);
  const auto begin = std::chrono::steady_clock::now();
  FlatVector vector = open_vector(config);
  const int64_t balanced = balances(config) ? balance_factors(vector) : 0;
  std::optional<DeltaScore> score;
  if (!config.data.files.empty()) score.emplace(*config.base, config.data);
  const auto at_density = [&](double density, std::vector<AlphaScore>* tried) {
    Compressed made = compress(vector, {.mode = config.mode,
                                        .codec = config.codec,
                                        .density = density,
                                        .alpha = alpha.value,
                                        .reference = config.reference});
    if (alpha.tuned) {
      const auto all = tune_alpha(made, alpha_grid(), std::ref(*score));
      if (tried) *tried = all;
    }
    return made;
  };
  std::vector<AlphaScore> tried;
  const Compressed made = at_density(config.density, &tried);
  Curve curve{config.from.string(), config.codec, {}, {}};
  if (!config.curve.empty()) {
    std::vector<double> densities = config.curve;
    std::sort(densities.begin(), densities.end());
    if (score) curve.base_loss = score->base();
    for (const double density : densities) {
      const Compressed point = at_density(density, nullptr);
      curve.points.push_back({density, point.report, {}});
      if (score) curve.points.back().loss = (*score)(point);
    }
  }
  write_delta(config.out, made.contents);
  Json report = report_json(made, tried);
  report["balanced"] = balanced;
  report["seconds"] =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (!curve.points.empty()) {
    report["curve"] = curve_json(curve);
    write_file(config.out / "curve.json", report["curve"].dump(1) + "\n");
    write_file(config.out / "curve.html", curve_html(curve));
  }
  if (invocation.output.json) return print_json(report);
  show(made, config, report, tried);
  if (!curve.points.empty()) console().print(curve_text(curve));
}

}  // namespace

CoreVerb compress_verb() {
  return {"compress",
          "Compress an adapter, or what fine-tuning changed, to a few bits a value",
          Json::array(
              {Json::array(
                   {"smidgen compress run/adapter --out small", "a fifth of the values, as signs"}),
               Json::array({"smidgen compress run/adapter --out small --density 0.05 --alpha tuned "
                            "--base model --data held_out.jsonl",
                            "a twentieth, with the scale that the data like best"}),
               Json::array({"smidgen compress tuned --base model --out small --codec sign1",
                            "one bit for each weight of a fine-tuned model"})}),
          [] { return describe<CompressConfig>(); },
          run_compress,
          "from"};
}

}  // namespace smidgen
