// Reading an adapter folder: which tensor belongs where, and what is missing or left over.
#include <algorithm>
#include <set>

#include <torch/torch.h>

#include "smidgen/base/log.h"
#include "smidgen/io/dequantise.h"
#include "smidgen/methods/adapter.h"
#include "smidgen/methods/copies.h"
#include "smidgen/methods/stored_delta.h"

namespace smidgen {

namespace {

at::Tensor read_f32(const TensorView& view) {
  at::Tensor values = at::empty(view.shape, at::kFloat);
  to_f32(view, {values.mutable_data_ptr<float>(), static_cast<size_t>(values.numel())});
  return values;
}

// Equal once both have the numbers that the file's format can hold.
bool equals_base(const at::Tensor& stored, const TensorView& view, const BaseView& base) {
  constexpr int64_t kRows = 4096;
  for (int64_t row = 0; row < stored.size(0); row += kRows) {
    const int64_t end = std::min(stored.size(0), row + kRows);
    at::Tensor own = base.tile(row, end);
    if (view.format == Format::bf16) own = own.to(at::kBFloat16).to(at::kFloat);
    if (view.format == Format::f16) own = own.to(at::kHalf).to(at::kFloat);
    if (!at::equal(own, stored.narrow(0, row, end - row))) return false;
  }
  return true;
}

// A name that carries the adapter's own name ("...lora_A.default.weight"), without it; empty when
// no part of it can be left out.
std::string without_adapter_name(const std::string& name, const std::set<std::string>& known,
                                 std::string* carried) {
  for (size_t begin = name.find('.'); begin != std::string::npos;
       begin = name.find('.', begin + 1)) {
    const size_t end = std::min(name.size(), name.find('.', begin + 1));
    std::string shorter = name.substr(0, begin) + name.substr(end);
    if (!known.contains(shorter)) continue;
    *carried = name.substr(begin + 1, end - begin - 1);
    return shorter;
  }
  return {};
}

// With bias: all PEFT stores the biases of copied modules three times: "X.Y.bias", and again under
// "X.original_module.Y.bias" and "X.modules_to_save[.NAME].Y.bias". The site whose bias such a
// second name repeats; empty when it is none.
std::string repeated_bias(const std::string& path) {
  for (const std::string_view wrapper : {".original_module", ".modules_to_save"}) {
    const size_t begin = path.find(wrapper);
    if (begin == std::string::npos || !path.ends_with(".bias")) continue;
    const std::string before = path.substr(0, begin);
    const std::string after = path.substr(begin + wrapper.size());  // ".NAME.Y.bias"
    return before + after.substr(0, after.size() - 5);
  }
  return {};
}

// Whether `name` is the site's name with one component more: the adapter's own name.
bool repeats(const std::string& name, const std::string& site) {
  for (size_t begin = name.find('.'); begin != std::string::npos;
       begin = name.find('.', begin + 1)) {
    const size_t end = std::min(name.size(), name.find('.', begin + 1));
    if (name.substr(0, begin) + name.substr(end) == site) return true;
  }
  return false;
}

// Whether only the number of tokens sets `shape` apart from the parameter's.
bool resized(const Model& model, const ParamSpec& spec, const std::vector<int64_t>& shape) {
  const auto& sites = model.sites();
  const auto site =
      std::find_if(sites.begin(), sites.end(), [&](const Site& s) { return s.name == spec.site; });
  if (site == sites.end() || shape.size() != 2 || spec.shape.size() != 2) return false;
  const size_t tokens = spec.shape[0] == site->out ? 0 : 1;
  return (site->kind == SiteKind::embedding || site->output_head) &&
         spec.shape[tokens] == site->out && shape[1 - tokens] == spec.shape[1 - tokens];
}

constexpr std::string_view kPrefix = "base_model.model.";

}  // namespace

std::unique_ptr<Adapter> Adapter::load(const Model& model, const fs::path& folder,
                                       const AdapterLoadOptions& options) {
  return load(model, read_adapter(folder), options);
}

std::unique_ptr<Adapter> Adapter::load(const Model& model, const AdapterFiles& files,
                                       const AdapterLoadOptions& options) {
  if (files.delta) {
    // What full tuning makes, beside its base and not trained further.
    std::unique_ptr<Adapter> a(new Adapter("full", Json::object()));
    a->sidecar_ = files.sidecar;
    a->plan_ = plan_delta(model, *files.delta);
    return a;
  }
  const std::string where = (files.path / "adapter_config.json").string();
  const auto& [name, method] =
      method_of_peft_type(files.config.at("peft_type").get<std::string>(), where);
  std::unique_ptr<Adapter> a(new Adapter(
      name, method->from_peft(files.config, model.sites(), options.allow_config_keys, where)));
  a->read_config_ = files.config;
  a->sidecar_ = files.sidecar;
  a->read_file_ = files.tensors;
  a->make_plan(model, /*loading=*/true);
  a->read_tensors(model, files);
  return a;
}

// Keeps the sites that have all their tensors; some of them only is an error.
void Adapter::check_complete(const AdapterFiles& files) {
  const TensorStore& tensors = *files.tensors;
  std::vector<std::string> missing;
  std::vector<SitePlan> present;
  for (const SitePlan& site : plan_.sites) {
    std::vector<std::string> absent;
    for (const ParamSpec& spec : site.parameters) {
      const std::string name = adapter_tensor_name(spec);
      if (!tensors.contains(name)) absent.push_back(name);
    }
    if (absent.empty()) {
      present.push_back(site);
    } else if (absent.size() < site.parameters.size()) {
      missing.insert(missing.end(), absent.begin(), absent.end());
    }
  }
  if (!missing.empty()) {
    throw Error(ErrorKind::mismatch, str("the adapter lacks ", join(missing, ", ", 6)),
                tensors.where(),
                did_you_mean(missing.front(), tensors.names(),
                             "its other tensors of the same modules are there"));
  }
  if (present.size() < plan_.sites.size() && !present.empty()) {
    log_note(str("the adapter's configuration names ", plan_.sites.size(),
                 " places and its file has tensors for ", present.size()));
  }
  plan_.sites = std::move(present);
}

// What PEFT stores beside the trained values: base weights of targeted embeddings and heads, and
// with bias: all the untrained and the doubled biases of copied modules.
void Adapter::take_base_weights(const Model& model, const AdapterFiles& files) {
  std::set<std::string> known;
  for (const SitePlan& site : plan_.sites) {
    for (const ParamSpec& spec : site.parameters) known.insert(adapter_tensor_name(spec));
  }
  for (const std::string& name : files.tensors->names()) {
    if (known.contains(name) || !name.starts_with(kPrefix)) continue;
    const std::string path = name.substr(kPrefix.size());
    constexpr std::string_view kBase = ".base_layer.weight";
    const std::string base_weight =
        path.ends_with(kBase) ? path.substr(0, path.size() - kBase.size()) : std::string();
    const std::string repeated = repeated_bias(path);
    const TensorView view = files.tensors->view(name);
    for (const Site& site : model.sites()) {
      if (site.name == base_weight) {
        if (view.shape != std::vector<int64_t>{site.out, site.in}) {
          throw Error(
              ErrorKind::mismatch,
              str("the adapter comes with a ", site.name, " of shape ", shape_str(view.shape),
                  ", and this model's is ", shape_str(std::vector<int64_t>{site.out, site.in})),
              name, "it was made on a base whose vocabulary was resized");
        }
        const HostSite at = model.find(site.name);
        const at::Tensor stored = read_f32(view);
        if (!equals_base(stored, view, {at.host, at.index})) {
          log_note("the adapter comes with its own ", site.name, ", which differs from the base's");
          plan_.sites.insert(plan_.sites.begin(), fixed_weight(site, stored));
        }
        carried_.push_back({name, view});
      } else if (site.bias && (site.name == repeated || repeats(repeated, site.name))) {
        carried_.push_back({name, view});
      }
    }
  }
}

void Adapter::check_left(const TensorStore& tensors, const Plan& planned, bool any) const {
  std::set<std::string> known, wanted;
  for (const SitePlan& site : planned.sites) {
    for (const ParamSpec& spec : site.parameters) wanted.insert(adapter_tensor_name(spec));
  }
  for (const NamedTensor& tensor : carried_) known.insert(tensor.name);
  for (const SitePlan& site : plan_.sites) {
    for (const ParamSpec& spec : site.parameters) known.insert(adapter_tensor_name(spec));
    for (const Alias& alias : site.aliases) known.insert(adapter_tensor_name(alias.path));
  }
  std::vector<std::string> left;
  for (const std::string& name : tensors.names()) {
    if (!known.contains(name)) left.push_back(name);
  }
  if (any && left.empty()) return;
  std::string hint, carried;
  const std::vector<std::string> expected(wanted.begin(), wanted.end());
  if (!left.empty() && !without_adapter_name(left.front(), wanted, &carried).empty()) {
    hint = str("the names carry the adapter's name '", carried,
               "': save it with PEFT's save_pretrained, which leaves it out");
  } else {
    hint = did_you_mean(
        left.empty() ? std::string() : left.front(), expected,
        str("the model expects ", expected.empty() ? "none" : join(expected, ", ", 4)));
  }
  throw Error(
      ErrorKind::mismatch,
      !any ? str("no tensor of the adapter applies to this model; it holds ",
                 left.empty() ? "none" : join(left, ", ", 4))
           : str(left.size(), " tensors of the adapter apply to nothing: ", join(left, ", ", 4)),
      tensors.where(), hint);
}

// Two names of one parameter must hold the same values.
void Adapter::check_aliases(const TensorStore& tensors) const {
  for (const SitePlan& site : plan_.sites) {
    for (const Alias& alias : site.aliases) {
      const std::string name = adapter_tensor_name(alias.path);
      if (!tensors.contains(name)) continue;
      const ParamSpec& spec = site.parameters[alias.parameter];
      const at::Tensor own = store_.find(spec.path()).value().detach();
      const at::Tensor other = read_f32(tensors.view(name));
      if (!at::equal(alias.transposed ? other.t() : other, own)) {
        throw Error(ErrorKind::mismatch,
                    str(name, " differs from ", adapter_tensor_name(spec),
                        ", and ensure_weight_tying makes them one"),
                    tensors.where());
      }
    }
  }
}

void Adapter::read_tensors(const Model& model, const AdapterFiles& files) {
  const TensorStore& tensors = *files.tensors;
  const Plan planned = plan_;
  check_complete(files);
  take_base_weights(model, files);
  bool any = false;
  for (const SitePlan& site : plan_.sites) {
    for (const ParamSpec& spec : site.parameters)
      any |= tensors.contains(adapter_tensor_name(spec));
    any |= !site.constants.empty();
  }
  if (!any) carried_.clear();
  check_left(tensors, planned, any);
  allocate();
  for (const std::string& name : tensors.names()) formats_[name] = tensors.view(name).format;
  for (const auto& p : store_.parameters()) {
    const std::string name = adapter_tensor_name(p->spec());
    const TensorView view = tensors.view(name);
    if (view.shape != p->spec().shape) {
      throw Error(ErrorKind::mismatch,
                  str("tensor ", name, " has shape ", shape_str(view.shape),
                      " where base and configuration give ", shape_str(p->spec().shape)),
                  tensors.where(),
                  resized(model, p->spec(), view.shape)
                      ? "it was made on a base whose vocabulary was resized"
                      : "the adapter was made for another base, or its configuration was edited");
    }
    p->value().detach().copy_(read_f32(view));
  }
  check_aliases(tensors);
}

}  // namespace smidgen
