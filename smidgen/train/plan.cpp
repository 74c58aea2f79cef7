#include "smidgen/train/plan.h"

#include <algorithm>
#include <cstdio>
#include <set>

#include <torch/torch.h>

#include "smidgen/base/memory.h"
#include "smidgen/base/progress.h"
#include "smidgen/kernels/formats/registry.h"
#include "smidgen/nn/tiny_model.h"
#include "smidgen/train/loop.h"
#include "smidgen/train/step_timing.h"

namespace smidgen {

namespace {

constexpr int kSlot = 1;
constexpr int kPlain = 2;        // the same without what runs the blocks its own way
constexpr int64_t kWalk = 1000;  // steps that stand for all

// Freed blocks that do not fit what comes next: little where products go into their place block by
// block, much where whole weights, their gradients or fp32 products come and go. The shares are
// fitted to some forty runs like those of tests/command/test_plan.py, with glibc 2.36.
double holes_share(const Model& model, MemoryMode mode) {
  constexpr int64_t kSome = 256;
  bool dense = false, whole = false, unpacked = false, modules = false;
  for (const Site& site : model.module_sites())
    modules |= site.kind != SiteKind::stack && !model.find(site.name).slots().at(kSlot).empty();
  for (const auto& host : model.hosts()) {
    for (size_t i = 0; i < host->sites().size(); ++i) {
      for (const AttachmentPtr& a : host->slots(i).at(kSlot)) dense |= a->hooks().weight;
    }
    if (host->sites().front().kind != SiteKind::linear) continue;
    const BaseWeight& weight = host->weight().current();
    const int64_t scratch = weight.product_bytes(kSome, false);
    whole |= scratch > 0;
    unpacked |= scratch > 4 * kSome * weight.out_features();
  }
  const double share = dense ? 0.6 : unpacked ? 0.35 : modules ? 0.2 : whole ? 0.15 : 0.03;
  // What runs again comes and goes between what stays; so do the fp32 rows of hooks on modules.
  const double again = mode == MemoryMode::checkpoint ? (modules ? 0.9 : 0.6)
                       : mode == MemoryMode::lean     ? 0.35
                                                      : 0;
  return std::max(share, again);
}

// Of what would be kept if the blocks ran one after the other, and comes and goes instead: fitted
// to the passes of docs/plan.md, as above.
constexpr double kReversedHoles = 0.3;

Rows rows_of(int64_t n, int slot = kSlot) {
  return {.segments = {{slot, 0, n}}, .count = n};
}

}  // namespace

int64_t StepShape::rows() const {
  int64_t sum = 0;
  for (const int64_t length : largest) sum += length;
  return sum;
}

StepShape step_shape(const TrainConfig& config, const Dataset& data) {
  const std::vector<int32_t> lengths = data.unit_lengths();
  Loader walk(lengths, loader_config(config));
  const int64_t steps = std::min(kWalk, total_steps(config, data));
  StepShape shape;
  int64_t most = 0, tokens = 0, passes = 0;
  for (int64_t i = 0; i < steps; ++i) {
    const Step step = walk.next();
    tokens += step.tokens;
    passes += static_cast<int64_t>(step.micro.size());
    for (const auto& micro : step.micro) {
      int64_t rows = 0;
      for (const int64_t unit : micro) rows += lengths[static_cast<size_t>(unit)];
      if (rows <= most) continue;
      most = rows;
      shape.largest.clear();
      for (const int64_t unit : micro) shape.largest.push_back(lengths[static_cast<size_t>(unit)]);
    }
  }
  for (const int32_t length : lengths) shape.longest = std::max<int64_t>(shape.longest, length);
  const auto count = static_cast<double>(std::max<int64_t>(1, steps));
  shape.tokens = static_cast<double>(tokens) / count;
  shape.passes = static_cast<double>(passes) / count;
  return shape;
}

StepShape step_shape(const std::string& tokens) {
  const auto [sequences, length] = parse_batch(tokens);
  StepShape shape;
  shape.largest.assign(static_cast<size_t>(sequences), length);
  shape.tokens = static_cast<double>(sequences * length);
  shape.longest = length;
  return shape;
}

int64_t idle_memory(Arithmetic arithmetic) {
  const auto model = make_tiny_llama({.width = 64, .inner = 128, .tied = true},
                                     {.dtype = std::string(to_string(arithmetic))});
  const auto adapter = Adapter::create(*model, "lora", Json::object(), 0);
  adapter->attach(*model, kSlot);
  const std::vector<int32_t> ids(64, 1);
  Batch batch;
  batch.main = make_stream(ids, kSlot);
  batch.targets = next_token_targets(batch.main);
  model->loss_sum(model->forward(batch.main), batch).backward();
  Adapter::detach(*model, kSlot);
  return current_rss();
}

PlannedRun::PlannedRun(const ModelConfig& model, const TrainConfig& train)
    : loaded_(open_detached(
          model.choice, {.dtype = model.dtype, .base_format = model.base_format, .planned = true})),
      adapter_(Adapter::planned(*loaded_.model, train.method.name, train.method.config)),
      held_(losses().find(train.loss.name).planned_bytes(train.loss.config)),
      mode_(train.memory.mode) {
  Model& planned = *loaded_.model;
  planned.set_memory(train.memory);
  adapter_->attach(planned, kSlot);
  for (const std::vector<Site>* sites : {&planned.sites(), &planned.module_sites()}) {
    for (const Site& site : *sites) {
      SlotTable& slots = planned.find(site.name).slots();
      own_way_ |= site.kind == SiteKind::stack && !slots.at(kSlot).empty();
      for (const AttachmentPtr& a : slots.at(kSlot)) {
        if (site.kind != SiteKind::stack) slots.attach(kPlain, a);
      }
    }
  }
}

int64_t PlannedRun::layers() const {
  int64_t last = -1;
  for (const Site& site : loaded_.model->sites()) last = std::max(last, site.layer);
  return last + 1;
}

MemoryForecast PlannedRun::memory(int64_t rows, int64_t idle) const {
  const Model& model = *loaded_.model;
  MemoryForecast plan;
  plan.idle = idle;
  plan.base = static_cast<int64_t>(model.weight_bytes()) + held_;
  int64_t elements = 0, largest = 0;
  for (const auto& p : adapter_->store().parameters()) {
    elements += p->size();
    largest = std::max(largest, p->size());
  }
  plan.trainable = 16 * elements;
  plan.pass = model.pass_memory(rows_of(rows), rows).peak();
  const double share = holes_share(model, mode_);
  plan.holes = static_cast<int64_t>(share * static_cast<double>(plan.pass));
  if (own_way_) {
    const int64_t gone = model.pass_memory(rows_of(rows, kPlain), rows).peak() - plan.pass;
    plan.holes = std::max(static_cast<int64_t>(0.03 * static_cast<double>(plan.pass)),
                          static_cast<int64_t>(kReversedHoles * static_cast<double>(gone)));
  }
  plan.update = 16 * largest;  // a gradient and its square in double
  // Blocks of 32 MiB and more come from the system, beside the heap, which goes back only beyond
  // 64 MiB at its end (glibc's thresholds at their ends).
  if (8 * largest >= int64_t{32} << 20) plan.update += std::min(plan.pass, int64_t{64} << 20);
  // Merging stands beside the base, one delta at a time.
  if (adapter_->method().capabilities().artefact == Artefact::model)
    plan.saving = plan.base - held_ + 12 * largest;
  return plan;
}

int64_t PlannedRun::most_rows(int64_t limit, int64_t idle) const {
  const auto fits = [&](int64_t rows) { return memory(rows, idle).peak() <= limit; };
  if (!fits(1)) return 0;
  int64_t low = 1, high = 2;
  while (high < (int64_t{1} << 30) && fits(high)) low = high, high *= 2;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (fits(middle) ? low : high) = middle;
  }
  return low;
}

Json what_fits(const TuneConfig& config, int64_t limit, int64_t idle) {
  std::vector<Json> found;
  std::set<int64_t> seen;  // equal bytes: the same storage under another name
  std::vector<std::string> formats = {config.model.base_format};
  for (const std::string& name : weight_formats().names()) formats.push_back(name);
  for (const std::string& format : formats) {
    if (format == "stored" && config.model.base_format != "stored") continue;  // far too slow
    ModelConfig model = config.model;
    model.base_format = format;
    try {
      const PlannedRun run(model, config.train);
      const int64_t base = run.memory(1, idle).base;
      if (!seen.insert(base).second) continue;
      found.push_back({{"base_format", format},
                       {"base_bytes", base},
                       {"micro_tokens", run.most_rows(limit, idle)}});
    } catch (const Error& error) {
      if (format == config.model.base_format) throw;  // a format that cannot hold this model
    }
  }
  std::stable_sort(found.begin(), found.end(), [](const Json& a, const Json& b) {
    return a["micro_tokens"].get<int64_t>() > b["micro_tokens"].get<int64_t>();
  });
  return found;
}

Json memory_report(const TuneConfig& config, const PlannedRun& run, const StepShape& shape,
                   int64_t idle) {
  const MemoryForecast plan = run.memory(shape.rows(), idle);
  const MemoryRoom room = memory_room();
  const int64_t limit = current_rss() + room.bytes;
  Json report = {{"idle_bytes", plan.idle},           {"base_bytes", plan.base},
                 {"trainable_bytes", plan.trainable}, {"pass_bytes", plan.pass},
                 {"holes_bytes", plan.holes},         {"update_bytes", plan.update},
                 {"saving_bytes", plan.saving},       {"peak_bytes", plan.peak()},
                 {"pass_tokens", shape.rows()},       {"room_bytes", limit},
                 {"limited_by", room.limit},          {"fits", plan.peak() <= limit}};
  if (plan.peak() <= limit) return report;
  report["missing_bytes"] = plan.peak() - limit;
  Json ways = Json::array();
  for (const Json& way : what_fits(config, limit, idle)) {
    const auto tokens = way["micro_tokens"].get<int64_t>();
    if (tokens == 0) continue;
    std::string text;
    const auto format = way["base_format"].get<std::string>();
    if (format != config.model.base_format) text = "--base-format " + format;
    if (tokens < shape.rows()) {
      if (!text.empty()) text += " ";
      text += str("--micro-tokens ", tokens);
      if (tokens < shape.longest) text += str(" --max-length ", tokens);
    }
    ways.push_back(text);
  }
  report["would_fit"] = ways;
  return report;
}

void check_memory(const Json& report) {
  if (report["fits"].get<bool>()) return;
  const auto bytes = [&](const char* key) { return bytes_text(report[key].get<int64_t>()); };
  std::vector<std::string> ways;
  for (const Json& way : report["would_fit"]) ways.push_back(way.get<std::string>());
  throw Error(ErrorKind::resource,
              str("the run needs ", bytes("peak_bytes"), " and there are ", bytes("room_bytes"),
                  ": ", bytes("missing_bytes"), " are missing"),
              report["limited_by"].get<std::string>(),
              ways.empty()
                  ? std::string("no format of the base and no batch would fit; "
                                "--allow-low-memory starts anyway")
                  : str("would fit: ", join(ways, "; or "), "; --allow-low-memory starts anyway"));
}

}  // namespace smidgen
