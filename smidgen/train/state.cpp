#include "smidgen/train/state.h"

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/base/log.h"
#include "smidgen/io/dequantise.h"
#include "smidgen/io/json_file.h"
#include "smidgen/io/json_member.h"
#include "smidgen/io/safetensors.h"

namespace smidgen {

Json RunIdentity::to_json() const {
  return {{"recipe", recipe},   {"base", base},     {"data", data},
          {"threads", threads}, {"target", target}, {"versions", versions}};
}

void RunIdentity::check(const Json& saved, bool allow_inexact) const {
  const Json mine = to_json();
  const std::string where = "identity in the checkpoint's state.json";
  const auto refuse = [&](const std::string& what, const Json& then, const Json& now,
                          const std::string& hint) {
    throw Error(ErrorKind::mismatch,
                str("cannot resume: ", what, " was ", then.dump(), " and is now ", now.dump()), "",
                hint);
  };
  const Json& recipe_then = member(saved, "recipe", where);
  for (const auto& [key, value] : mine["recipe"].items()) {
    const auto found = recipe_then.find(key);
    const Json then = found == recipe_then.end() ? Json() : *found;
    if (then != value)
      refuse(key, then, value, "resume with the recipe of the run folder, or start a new run");
  }
  for (const char* key : {"base", "data"}) {
    if (member(saved, key, where) != mine[key]) {
      refuse(str("the digest of the ", key), member(saved, key, where), mine[key],
             "the files changed since the run began");
    }
  }
  for (const char* key : {"threads", "target", "versions"}) {
    if (member(saved, key, where) == mine[key]) continue;
    if (!allow_inexact) {
      refuse(key, member(saved, key, where), mine[key],
             "this changes rounding; --allow-inexact-resume goes on all the same");
    }
    log_warning("resuming with ", key, " ", mine[key].dump(), " in place of ",
                member(saved, key, where).dump(), ": bits will differ");
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

RunState RunState::from_json(const Json& j, const Json& structure, const fs::path& folder) {
  const std::string where = (folder / "state.json").string();
  if (const int64_t version = count_member(j, "version", where); version != 1) {
    throw Error(ErrorKind::unsupported,
                str("the checkpoint is of version ", version, ", this build reads 1"), where);
  }
  RunState s;
  s.step = count_member(j, "step", where);
  const Json& loader = member(j, "loader", where);
  s.loader = {static_cast<uint64_t>(count_member(loader, "epoch", where)),
              static_cast<uint64_t>(count_member(loader, "position", where))};
  s.tokens = count_member(j, "tokens", where);
  if (const Json& best = member(j, "best", where); !best.is_null()) {
    s.best = Best{number_member(best, "loss", where), count_member(best, "step", where)};
  }
  s.stale = count_member(j, "stale", where);
  s.metrics_offset = static_cast<uint64_t>(count_member(j, "metrics_offset", where));
  const Json& events = member(j, "events", where);
  s.events_file = text_member(events, "file", where);
  // It is opened and cut: a checkpoint from elsewhere must not name a file outside the run.
  if (!is_plain_name(s.events_file)) {
    throw Error(ErrorKind::format, str("the event file '", s.events_file, "' is not a plain name"),
                where);
  }
  s.events_offset = static_cast<uint64_t>(count_member(events, "offset", where));
  s.watchdog = member(j, "watchdog", where);
  for (const Json& loss : s.watchdog) {
    if (!s.watchdog.is_array() || !loss.is_number())
      throw Error(ErrorKind::format, "\"watchdog\" is not a list of losses", where);
  }
  s.policy = member(j, "policy", where);
  s.edits = EditLog::from_json(structure, (folder / "structure.json").string());
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
  const fs::path counts_file = folder / "counts.json";
  const Json counts = read_json(counts_file);
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
    const std::string path = p->spec().path(), where = counts_file.string();
    const auto left = [&] { return p->rows() - static_cast<int64_t>(rows.size()); };
    for (const Json& run : member(counts, path.c_str(), where)) {
      if (!run.is_array() || run.size() != 2)
        throw Error(ErrorKind::format, str(path, ": not a list of [steps, rows]"), where);
      const int64_t many = count_of(run[1], path, where);
      if (many > left())
        throw Error(ErrorKind::mismatch,
                    str(path, " has ", p->rows(), " rows, and more counts than that"), where);
      rows.insert(rows.end(), static_cast<size_t>(many), count_of(run[0], path, where));
    }
    if (left() != 0)
      throw Error(ErrorKind::mismatch,
                  str(path, " has ", p->rows(), " rows and ", rows.size(), " counts"), where);
    store.set_counts(*p, std::move(rows));
  }
}

}  // namespace smidgen
