#include "smidgen/delta/adapters/extract.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <torch/torch.h>

#include "smidgen/base/log.h"
#include "smidgen/base/progress.h"
#include "smidgen/base/regex.h"
#include "smidgen/base/version.h"
#include "smidgen/delta/adapters/checkpoint_pair.h"
#include "smidgen/delta/adapters/lora_folder.h"

namespace smidgen {

namespace {

using Kind = ModulePair::Kind;

bool ends_path(const std::string& path, const std::string& name) {
  return path == name || path.ends_with("." + name);
}

// Error usage for a pattern or name that speaks of no module.
std::vector<Regex> compile(const std::vector<std::string>& patterns, const char* key,
                           const std::vector<std::string>& paths) {
  std::vector<Regex> compiled;
  for (const std::string& pattern : patterns) {
    compiled.emplace_back(pattern);
    const auto found = [&](const std::string& path) { return compiled.back().search(path); };
    if (std::any_of(paths.begin(), paths.end(), found)) continue;
    throw Error(ErrorKind::usage, str("'", pattern, "' matches no module"), key,
                str("modules are called ", join(paths, ", ", 3)));
  }
  return compiled;
}

bool any(const std::vector<Regex>& patterns, const std::string& path) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const Regex& pattern) { return pattern.search(path); });
}

// PEFT wraps a model by its task.
Json task_type(const Source& model) {
  const Json config = model.config();
  if (!config.is_object()) return nullptr;
  const auto classes = config.find("architectures");
  if (classes == config.end() || !classes->is_array() || classes->empty() ||
      !classes->front().is_string())
    return nullptr;
  const std::string name = classes->front();
  for (const auto& [end, task] : {std::pair{"ForCausalLM", "CAUSAL_LM"},
                                  {"LMHeadModel", "CAUSAL_LM"},
                                  {"ForConditionalGeneration", "SEQ_2_SEQ_LM"},
                                  {"ForSequenceClassification", "SEQ_CLS"},
                                  {"ForTokenClassification", "TOKEN_CLS"},
                                  {"ForQuestionAnswering", "QUESTION_ANS"}}) {
    if (name.ends_with(end)) return task;
  }
  return nullptr;
}

double norm2(const at::Tensor& t) {
  return t.to(at::kDouble).square().sum().item<double>();
}

class Extractor {
 public:
  Extractor(const Source& base, const Source& model, const std::vector<Site>& sites,
            const ExtractOptions& options)
      : base_(base),
        pair_(base, model, sites),
        o_(options),
        include_(compile(options.include, "include", pair_.paths())),
        exclude_(compile(options.exclude, "exclude", pair_.paths())),
        folder_(lora_default_config(base.label())) {
    for (const std::string& name : o_.modules_to_save) {
      const std::vector<std::string> paths = pair_.paths();
      if (!std::any_of(paths.begin(), paths.end(),
                       [&](const std::string& path) { return ends_path(path, name); }))
        throw Error(ErrorKind::usage, str("there is no module '", name, "'"), "modules_to_save",
                    did_you_mean(name, paths, str("modules are called ", join(paths, ", ", 3))));
    }
  }

  Json run(const fs::path& out) {
    Progress progress("extracting", static_cast<int64_t>(pair_.modules().size()));
    int64_t done = 0;
    for (const ModulePair& module : pair_.modules()) {
      extract(module);
      progress.update(++done);
    }
    progress.finish();
    if (folder_.places().empty()) {
      throw Error(ErrorKind::data,
                  whole_.empty() && left_.empty()
                      ? "the two checkpoints do not differ"
                      : "no linear layer differs, and an adapter of copies alone is none",
                  pair_.model().label(), str("compared with ", base_.label()));
    }
    return write(out);
  }

 private:
  bool wanted(const std::string& path) const {
    return (include_.empty() || any(include_, path)) && !any(exclude_, path);
  }
  bool asked_whole(const std::string& path) const {
    return std::any_of(o_.modules_to_save.begin(), o_.modules_to_save.end(),
                       [&](const std::string& name) { return ends_path(path, name); });
  }
  bool as_factors(const ModulePair& module) const {
    const bool table = module.kind == Kind::embedding || module.kind == Kind::head;
    if (module.kind == Kind::other || (table && !o_.embeddings)) return false;
    const TensorPair* weight = module.find("weight");
    return weight && !weight->resized() && weight->model->shape.size() == 2 &&
           module.parameters.size() == (module.find("bias") ? 2u : 1u);
  }

  void extract(const ModulePair& module) {
    const auto same = [&](const TensorPair& pair) { return pair_.same_bytes(pair); };
    if (std::all_of(module.parameters.begin(), module.parameters.end(), same)) return;
    const bool whole = asked_whole(module.path);
    if (module.path.empty()) return leave(module);  // belongs to no module that could be copied
    if (!whole && !wanted(module.path)) return leave(module);
    if (!whole && as_factors(module)) return decompose_module(module);
    if (!whole && o_.skip_whole) return leave(module);
    copy(module);
  }

  // Its difference, or nothing where all values are equal.
  double difference2(const ModulePair& module) const {
    double sum = 0;
    for (const TensorPair& pair : module.parameters)
      sum += pair.resized() ? 0 : norm2(pair_.difference(pair));
    return sum;
  }

  void leave(const ModulePair& module) {
    const double sum2 = difference2(module);
    if (sum2 == 0) return;
    sum2_ += sum2;
    miss2_ += sum2;
    left_.push_back(module.path);
  }

  void copy(const ModulePair& module) {
    const bool resized = std::any_of(module.parameters.begin(), module.parameters.end(),
                                     [](const TensorPair& p) { return p.resized(); });
    const double sum2 = difference2(module);
    if (sum2 == 0 && !resized) return;
    if (resized) {
      log_warning(module.path,
                  " has another number of tokens than the base's, and is copied whole: ",
                  "the base must be resized before the adapter is loaded");
    }
    sum2_ += sum2;
    whole_.push_back(module.path);
    for (const TensorPair& pair : module.parameters) keep(module.path, pair);
    if (module.kind != Kind::embedding || !is_tied(module)) return;
    whole_.push_back(pair_.tied_head());
    for (const TensorPair& pair : module.parameters) keep(pair_.tied_head(), pair);
  }

  bool is_tied(const ModulePair& module) const {
    return !pair_.tied_head().empty() && module.parameters[0].model->name == pair_.embedding();
  }

  void keep(const std::string& path, const TensorPair& pair) {
    const std::string name = str("base_model.model.", path, ".", pair.parameter);
    const auto view = pair_.model().stored(*pair.model);
    if (view && !info(view->format).safetensors.empty()) {
      folder_.keep(name, *view);
      return;
    }
    at::Tensor values = at::empty(pair.model->shape, at::kFloat);
    const auto n = static_cast<size_t>(values.numel());
    pair_.model().read(*pair.model, 0, {values.mutable_data_ptr<float>(), n});
    alive_.push_back(values);
    folder_.keep(name, {.format = Format::f32,
                        .shape = pair.model->shape,
                        .bytes = std::as_bytes(std::span(values.const_data_ptr<float>(), n))});
  }

  void decompose_module(const ModulePair& module) {
    at::Tensor d = pair_.difference(*module.find("weight"));
    const bool embedding = module.kind == Kind::embedding;
    if (module.turned || embedding) d = d.t();
    turned_ = turned_ || module.turned;
    Decomposition parts = decompose(d, o_.rank);
    if (o_.sv_epsilon > 0) parts = parts.first(parts.s.gt(o_.sv_epsilon).sum().item<int64_t>());
    at::Tensor bias;
    if (const TensorPair* b = module.find("bias")) {
      const at::Tensor moved = pair_.difference(*b);
      if (moved.count_nonzero().item<int64_t>() > 0) bias = moved;
    }
    if (parts.norm2 == 0 && !bias.defined()) return;
    const int64_t rank = parts.s.size(0);
    const double bias2 = bias.defined() ? norm2(bias) : 0;
    sum2_ += parts.norm2 + bias2;
    miss2_ += parts.left2;
    const double error = parts.norm2 > 0 ? std::sqrt(parts.left2 / parts.norm2) : 0;
    by_module_[module.path] = {{"rank", rank}, {"error", error}};
    if (rank == 0 && !bias.defined()) return left_.push_back(module.path);
    LowRankDelta low = factors(parts, o_.scale_on);
    if (rank == 0) low = {at::zeros({1, d.size(1)}), at::zeros({d.size(0), 1}), 1};
    folder_.add({.module = module.path, .embedding = embedding, .in = d.size(1), .out = d.size(0)},
                {low.a, low.b, bias});
    if (!embedding || !is_tied(module)) return;
    // The head's update of [tokens, width] is the embedding's of [width, tokens], turned.
    folder_.add({.module = pair_.tied_head(), .in = d.size(0), .out = d.size(1)},
                {low.b.t(), low.a.t(), {}});
  }

  Json write(const fs::path& out) {
    // Every module of the architecture: those that are factors must be picked, and no others.
    std::vector<std::string> all = pair_.paths();
    if (!pair_.tied_head().empty()) all.push_back(pair_.tied_head());
    folder_.finish(all);
    Json& config = folder_.config();
    config["task_type"] = task_type(pair_.model());
    if (!whole_.empty()) config["modules_to_save"] = whole_;
    if (turned_) config["fan_in_fan_out"] = true;
    Json report = {{"base", base_.label()},
                   {"model", pair_.model().label()},
                   {"modules", folder_.places().size()},
                   {"rank", folder_.rank()},
                   {"whole", whole_},
                   {"left_out", left_},
                   {"error", sum2_ > 0 ? std::sqrt(miss2_ / sum2_) : 0},
                   {"by_module", by_module_}};
    Json sidecar = {{"smidgen", version()}};
    if (base_.files()) sidecar["base_digest"] = base_.files()->digest();
    sidecar["extracted"] = report;
    folder_.write(out, sidecar);
    return report;
  }

  const Source& base_;
  const CheckpointPair pair_;
  const ExtractOptions& o_;
  const std::vector<Regex> include_, exclude_;
  LoraFolder folder_;
  std::vector<at::Tensor> alive_;
  std::vector<std::string> whole_, left_;
  Json by_module_ = Json::object();
  double sum2_ = 0, miss2_ = 0;
  bool turned_ = false;
};

}  // namespace

Json extract_lora(const Source& base, const Source& model, const std::vector<Site>& sites,
                  const ExtractOptions& options, const fs::path& out) {
  if (options.rank < 1)
    throw Error(ErrorKind::usage, str("the rank is ", options.rank), "rank", "1 or more");
  return Extractor(base, model, sites, options).run(out);
}

}  // namespace smidgen
