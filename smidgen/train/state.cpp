#include "smidgen/train/state.h"

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/base/log.h"
#include "smidgen/io/dequantise.h"
#include "smidgen/io/json_file.h"
#include "smidgen/io/safetensors.h"

namespace smidgen {

Json RunIdentity::to_json() const {
  return {{"recipe", recipe},   {"base", base},     {"data", data},
          {"threads", threads}, {"target", target}, {"versions", versions}};
}

void RunIdentity::check(const Json& saved, bool allow_inexact) const {
  const Json mine = to_json();
  const auto refuse = [&](const std::string& what, const Json& then, const Json& now,
                          const std::string& hint) {
    throw Error(ErrorKind::mismatch,
                str("cannot resume: ", what, " was ", then.dump(), " and is now ", now.dump()), "",
                hint);
  };
  for (const auto& [key, value] : mine["recipe"].items()) {
    const Json then = saved.at("recipe").value(key, Json());
    if (then != value)
      refuse(key, then, value, "resume with the recipe of the run folder, or start a new run");
  }
  for (const char* key : {"base", "data"}) {
    if (saved.at(key) != mine[key]) {
      refuse(str("the digest of the ", key), saved.at(key), mine[key],
             "the files changed since the run began");
    }
  }
  for (const char* key : {"threads", "target", "versions"}) {
    if (saved.at(key) == mine[key]) continue;
    if (!allow_inexact) {
      refuse(key, saved.at(key), mine[key],
             "this changes rounding; --allow-inexact-resume goes on all the same");
    }
    log_warning("resuming with ", key, " ", mine[key].dump(), " in place of ", saved.at(key).dump(),
                ": bits will differ");
  }
}

Json RunState::to_json() const {
  Json j = {{"version", 1},
            {"step", step},
            {"loader", {{"epoch", loader.epoch}, {"position", loader.position}}},
            {"tokens", tokens},
            {"best", best ? Json{{"loss", best->loss}, {"step", best->step}} : Json(nullptr)},
            {"stale", stale},
            {"metrics_offset", metrics_offset},
            {"events", {{"file", events_file}, {"offset", events_offset}}},
            {"watchdog", watchdog},
            {"policy", policy}};
  return j;
}

RunState RunState::from_json(const Json& j, const Json& structure) {
  if (j.value("version", 0) != 1) {
    throw Error(ErrorKind::unsupported,
                str("the checkpoint is of version ", j.value("version", 0), ", this build reads 1"),
                "state.json");
  }
  RunState s;
  s.step = j.at("step");
  s.loader = {j.at("loader").at("epoch"), j.at("loader").at("position")};
  s.tokens = j.at("tokens");
  if (!j.at("best").is_null()) s.best = Best{j.at("best").at("loss"), j.at("best").at("step")};
  s.stale = j.at("stale");
  s.metrics_offset = j.at("metrics_offset");
  s.events_file = j.at("events").at("file");
  s.events_offset = j.at("events").at("offset");
  s.watchdog = j.at("watchdog");
  s.policy = j.at("policy");
  s.edits = EditLog::from_json(structure);
  return s;
}

namespace {

constexpr std::pair<const char*, at::Tensor (*)(const Parameter&)> kParts[] = {
    {"value.", [](const Parameter& p) { return p.value().detach(); }},
    {"first_moment.", [](const Parameter& p) { return p.first_moment(); }},
    {"second_moment.", [](const Parameter& p) { return p.second_moment(); }}};

}  // namespace

void write_trainables(const fs::path& folder, const ParamStore& store, const EditLog& edits) {
  std::vector<NamedTensor> tensors;
  Json counts = Json::object();
  for (const auto& p : store.parameters()) {
    for (const auto& [prefix, part] : kParts) {
      const at::Tensor t =
          part(*p);  // a view of an arena: contiguous, and alive as long as the store
      SMIDGEN_ASSERT(t.is_contiguous());
      TensorView view;
      view.format = Format::f32;
      view.shape = p->spec().shape;
      view.bytes =
          std::as_bytes(std::span(t.const_data_ptr<float>(), static_cast<size_t>(t.numel())));
      tensors.push_back({prefix + p->spec().path(), view});
    }
    // Runs of [steps, rows]: rows of one parameter nearly always share their count.
    Json runs = Json::array();
    for (const int64_t count : p->counts()) {
      if (runs.empty() || runs.back()[0] != count) {
        runs.push_back({count, 1});
      } else {
        runs.back()[1] = runs.back()[1].get<int64_t>() + 1;
      }
    }
    counts[p->spec().path()] = runs;
  }
  write_safetensors(folder / "params.safetensors", tensors);
  write_file(folder / "counts.json", counts.dump());
  write_file(folder / "structure.json", edits.to_json().dump(1));
}

void read_trainables(const fs::path& folder, ParamStore& store) {
  const SafetensorsFile file(folder / "params.safetensors");
  const Json counts = read_json(folder / "counts.json");
  for (const auto& p : store.parameters()) {
    for (const auto& [prefix, part] : kParts) {
      const TensorView view = file.view(prefix + p->spec().path());
      if (view.shape != p->spec().shape) {
        throw Error(ErrorKind::mismatch,
                    str("the checkpoint has ", p->spec().path(), " with shape ",
                        shape_str(view.shape), ", the run ", shape_str(p->spec().shape)),
                    file.where());
      }
      at::Tensor t = part(*p);
      to_f32(view, {t.mutable_data_ptr<float>(), static_cast<size_t>(t.numel())});
    }
    std::vector<int64_t> rows;
    for (const Json& run : counts.at(p->spec().path()))
      rows.insert(rows.end(), run[1].get<size_t>(), run[0].get<int64_t>());
    store.set_counts(*p, std::move(rows));
  }
}

}  // namespace smidgen
