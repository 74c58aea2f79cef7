// Building a decoder: which hosts it has and where their weights come from.
#include <ATen/ops/cat.h>

#include "smidgen/base/error.h"
#include "smidgen/kernels/formats/planned.h"
#include "smidgen/kernels/formats/registry.h"
#include "smidgen/nn/decoder.h"
#include "smidgen/nn/layer_norm_host.h"

namespace smidgen {

namespace {

std::shared_ptr<HostedWeight> hosted(const std::string& format, const WeightSource& source,
                                     Arithmetic arithmetic, const LoadOptions& options) {
  const WeightFormat& packer = find_weight_format(format);
  return std::make_shared<HostedWeight>(options.planned ? planned_weight(packer, source, arithmetic)
                                                        : packer.pack(source, arithmetic));
}

Site site_of(const DecoderSpec& spec, const TensorPlace& place, SiteKind kind, Format stored) {
  const PartShape shape = shape_of(spec, place.row->part);
  return {.name = place.hf(),
          .kind = kind,
          .out = shape.out,
          .in = shape.in,
          .bias = shape.bias,
          .layer = place.layer,
          .output_head = place.row->part == Part::head,
          .transposed = place.row->layout == Layout::transposed,
          .tied_to = {},
          .stored = stored};
}

// Those for tables with a row for each token, the output layer's among them.
LoadOptions for_vocabulary(LoadOptions options) {
  options.base_format = find_weight_format(options.base_format).vocabulary_format();
  return options;
}

}  // namespace

LinearGroup* Decoder::linear(WeightReader& weights, const LoadOptions& options,
                             const std::vector<Part>& parts, int64_t layer, int64_t expert) {
  std::vector<Site> sites;
  std::vector<WeightSource> sources;
  std::vector<at::Tensor> biases;
  for (const Part part : parts) {
    const TensorPlace place = weights.place(part, layer, expert);
    sites.push_back(site_of(spec_, place, SiteKind::linear, weights.stored_format(place)));
    const Site& site = sites.back();
    sources.push_back(weights.weight(place, site.out, site.in));
    if (site.bias) biases.push_back(weights.vector(place, ".bias", site.out));
  }
  auto weight =
      hosted(options.base_format, concatenate_rows(std::move(sources)), arithmetic_, options);
  return host<LinearGroup>(std::move(sites), std::move(weight),
                           biases.empty() ? at::Tensor() : at::cat(biases));
}

NormHost* Decoder::norm(WeightReader& weights, Part part, int64_t layer) {
  if (!weights.has(part)) return nullptr;
  const TensorPlace place = weights.place(part, layer);
  Site site = site_of(spec_, place, SiteKind::norm, weights.stored_format(place));
  auto weight = hosted("fp32", weights.weight(place, site.out, 1), Arithmetic::fp32, {});
  if (spec_.norm == NormKind::rms)
    return host<NormHost>(std::move(site), std::move(weight), spec_.norm_eps, spec_.norm_offset);
  site.bias = true;
  at::Tensor bias = weights.vector(place, ".bias", site.out);
  return host<LayerNormHost>(std::move(site), std::move(weight), std::move(bias), spec_.norm_eps);
}

EmbeddingHost* Decoder::embedding(WeightReader& weights, const LoadOptions& options, Part part) {
  const TensorPlace place = weights.place(part);
  Site site = site_of(spec_, place, SiteKind::embedding, weights.stored_format(place));
  auto table = hosted(for_vocabulary(options).base_format, weights.weight(place, site.out, site.in),
                      arithmetic_, options);
  return host<EmbeddingHost>(std::move(site), std::move(table));
}

Decoder::Mlp Decoder::mlp(WeightReader& weights, const LoadOptions& options, int64_t layer,
                          int64_t expert) {
  Mlp made;
  if (expert >= 0) {
    made.up = linear(weights, options, {Part::expert_gate, Part::expert_up}, layer, expert);
    made.down = linear(weights, options, {Part::expert_down}, layer, expert);
    return made;
  }
  std::vector<Part> up{Part::up};
  if (weights.has(Part::gate_up)) up = {Part::gate_up};
  if (weights.has(Part::gate)) up = {Part::gate, Part::up};
  made.up = linear(weights, options, up, layer);
  made.down = linear(weights, options, {Part::down}, layer);
  return made;
}

namespace {

// The module that holds all of these; `leaf` in it where that is `above`, which holds more.
std::string module_of(const std::vector<const Host*>& hosts, const std::string& above,
                      const std::string& leaf) {
  std::string common = hosts.front()->sites().front().name;
  for (const Host* host : hosts) {
    for (const Site& site : host->sites()) {
      while (!site.name.starts_with(common + "."))
        common.resize(common.find('.') == std::string::npos ? 0 : common.rfind('.'));
    }
  }
  return common == above ? above + "." + leaf : common;
}

}  // namespace

// Named as HF names the modules: whatever holds all linear layers of one.
void Decoder::modules(Block& block, int64_t layer) {
  std::vector<const Host*> mlp, all{block.qkv, block.out};
  if (block.router) mlp.push_back(block.router);
  for (const Mlp& expert : block.experts) mlp.insert(mlp.end(), {expert.up, expert.down});
  if (!block.router) mlp = {block.mlp.up, block.mlp.down};
  all.insert(all.end(), mlp.begin(), mlp.end());
  const std::string whole = module_of(all, {}, {});
  const auto place = [&](const std::string& name, SiteKind kind) {
    return module<ModuleHost>(
        {.name = name, .kind = kind, .out = spec_.width, .in = spec_.width, .layer = layer});
  };
  block.attention =
      place(module_of({block.qkv, block.out}, whole, "attention"), SiteKind::attention);
  block.whole_mlp = place(module_of(mlp, whole, "mlp"), SiteKind::mlp);
  block.whole = place(whole, SiteKind::block);
}

Decoder::Block Decoder::block(WeightReader& weights, const LoadOptions& options, int64_t layer) {
  Block made;
  made.first_host = hosts().size();
  made.spec = spec_.blocks[static_cast<size_t>(layer)];
  made.attention_norm = norm(weights, Part::attention_norm, layer);
  std::vector<Part> qkv{Part::query, Part::key, Part::value};
  if (weights.has(Part::query_key_value)) qkv = {Part::query_key_value};
  made.qkv = linear(weights, options, qkv, layer);
  made.query_norm = norm(weights, Part::query_norm, layer);
  made.key_norm = norm(weights, Part::key_norm, layer);
  made.out = linear(weights, options, {Part::attention_out}, layer);
  made.post_attention_norm = norm(weights, Part::post_attention_norm, layer);
  made.mlp_norm = norm(weights, Part::mlp_norm, layer);
  if (made.spec.experts) {
    made.router = linear(weights, options, {Part::router}, layer);
    for (int64_t e = 0; e < spec_.experts; ++e)
      made.experts.push_back(mlp(weights, options, layer, e));
  } else {
    made.mlp = mlp(weights, options, layer, -1);
  }
  made.post_mlp_norm = norm(weights, Part::post_mlp_norm, layer);
  made.last_host = hosts().size();
  modules(made, layer);
  return made;
}

Decoder::Decoder(const DecoderSpec& spec, Json config, WeightReader& weights,
                 const LoadOptions& options)
    : spec_(spec), logit_shape_{spec.logit_scale, spec.final_softcap} {
  if (options.layers > 0 && options.layers < spec.layers())
    spec_.blocks.resize(static_cast<size_t>(options.layers));
  config_ = std::move(config);
  family_ = spec.family;
  vocabulary_ = spec.vocabulary;
  context_ = spec.context;
  width_ = spec.width;
  arithmetic_ = resolve_arithmetic(options);
  for (const RopeSpec& rope : spec.ropes) ropes_.emplace_back(rope);
  interleaved_ = weights.has(Part::query_key_value) &&
                 weights.layout(Part::query_key_value) == Layout::interleaved;
  gated_ = weights.has(Part::gate) || weights.has(Part::gate_up) || weights.has(Part::expert_gate);
  // Other models scale embeddings in the model's own type.
  if (arithmetic_ == Arithmetic::bf16)
    spec_.embedding_scale = static_cast<double>(
        static_cast<float>(c10::BFloat16(static_cast<float>(spec.embedding_scale))));

  embedding_ = embedding(weights, options, Part::embedding);
  if (weights.has(Part::positions)) positions_ = embedding(weights, options, Part::positions);
  for (int64_t i = 0; i < spec_.layers(); ++i) blocks_.push_back(block(weights, options, i));
  const std::string& first = blocks_.front().whole->sites().front().name;
  stack_ = module<StackHost>({.name = first.substr(0, first.rfind('.')),
                              .kind = SiteKind::stack,
                              .out = spec_.width,
                              .in = spec_.width});
  norm_ = norm(weights, Part::norm);
  if (spec.tied) {
    const Site& owner = embedding_->sites().front();
    Site head = site_of(spec, weights.place(Part::head), SiteKind::linear, owner.stored);
    head.tied_to = owner.name;
    head_ = host<LinearGroup>(
        std::vector<Site>{std::move(head)},
        std::make_shared<HostedWeight>(embedding_->weight().shared_original()), at::Tensor());
  } else {
    head_ = linear(weights, for_vocabulary(options), {Part::head});
  }
  if (spec_.layers() == spec.layers()) weights.finish();
}

std::vector<ModelTensor> Decoder::tensors() const {
  std::vector<ModelTensor> all;
  for (const auto& host : hosts()) {
    for (size_t i = 0; i < host->sites().size(); ++i) {
      const Site& site = host->sites()[i];
      if (tied(site)) continue;
      const auto [row0, row1] = host->weight_rows(i);
      const WeightHost* owner = host.get();
      std::vector<int64_t> shape{site.out};
      if (site.kind != SiteKind::norm) shape.push_back(site.in);
      if (site.transposed) std::swap(shape[0], shape[1]);
      all.push_back(
          {site.name + ".weight", shape, site.stored,
           [owner, first = row0, last = row1, turned = site.transposed](int64_t a, int64_t b) {
             const BaseWeight& weight = owner->weight().current();
             if (!turned) return weight.tile(first + a, first + b);
             return weight.tile(first, last).narrow(1, a, b - a).t().contiguous();
           }});
      if (!owner->bias()) continue;
      const at::Tensor values = owner->bias()->narrow(0, row0, row1 - row0);
      all.push_back({site.name + ".bias", {site.out}, Format::f32, [values](int64_t a, int64_t b) {
                       return values.narrow(0, a, b - a);
                     }});
    }
  }
  return all;
}

}  // namespace smidgen
