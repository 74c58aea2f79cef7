#include "smidgen/nn/decoder.h"

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/kernels/formats/registry.h"
#include "smidgen/nn/attention.h"

namespace smidgen {

void validate(const DecoderSpec& s, const std::string& where) {
  const auto demand = [&](bool fine, const std::string& what) {
    if (!fine) throw Error(ErrorKind::format, what, where);
  };
  const std::pair<const char*, int64_t> sizes[] = {
      {"num_hidden_layers", s.layers},  {"hidden_size", s.width},
      {"num_attention_heads", s.heads}, {"num_key_value_heads", s.kv_heads},
      {"head_dim", s.head_dim},         {"intermediate_size", s.inner},
      {"vocab_size", s.vocabulary},     {"max_position_embeddings", s.context}};
  for (const auto& [name, value] : sizes) {
    demand(value > 0 && value <= (int64_t{1} << 30),
           str(name, " is ", value, ", which no model has"));
  }
  demand(s.layers <= 10000, str("num_hidden_layers is ", s.layers, ", which no model has"));
  demand(s.heads % s.kv_heads == 0, str("num_attention_heads ", s.heads,
                                        " is not a multiple of num_key_value_heads ", s.kv_heads));
  demand(s.head_dim % 2 == 0,
         str("head_dim ", s.head_dim, " is odd, and rotary embedding turns pairs"));
  demand(s.norm_eps > 0 && s.norm_eps < 1, str("rms_norm_eps is ", s.norm_eps));
  demand(s.rope_theta > 1, str("rope_theta is ", s.rope_theta));
}

namespace {

std::shared_ptr<const BaseWeight> pack_as(const std::string& format, const WeightSource& source,
                                          Arithmetic arithmetic) {
  return find_weight_format(format).pack(source, arithmetic);
}

at::Tensor dense_vector(const WeightSource& source) {
  at::Tensor values = at::empty({source.rows}, at::kFloat);
  source.read(0, source.rows, values.mutable_data_ptr<float>());
  return values;
}

int64_t layer_of(const std::string& name) {
  for (size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1)) {
    if (dot + 1 < name.size() && std::isdigit(static_cast<unsigned char>(name[dot + 1]))) {
      return std::stoll(name.substr(dot + 1));
    }
  }
  return -1;
}

}  // namespace

LinearGroup* Decoder::linear(WeightReader& weights, const LoadOptions& options,
                             const std::string& prefix,
                             const std::vector<std::pair<std::string, int64_t>>& parts, int64_t in,
                             bool bias) {
  std::vector<Site> sites;
  std::vector<WeightSource> sources;
  std::vector<at::Tensor> biases;
  for (const auto& [leaf, out] : parts) {
    const std::string name = prefix + leaf;
    // Only q and k are stored rotated; giving the heads to the others does no harm.
    const int64_t heads = out / spec_.head_dim;
    sites.push_back({.name = name,
                     .kind = SiteKind::linear,
                     .out = out,
                     .in = in,
                     .bias = bias,
                     .layer = layer_of(name)});
    sources.push_back(weights.source(name + ".weight", out, in, heads));
    if (bias) biases.push_back(dense_vector(weights.source(name + ".bias", out, 1, heads)));
  }
  const Format stored = weights.stored_format(sites.front().name + ".weight");
  auto weight =
      std::make_shared<HostedWeight>(pack_as(storage_format(options, stored, arithmetic_),
                                             concatenate_rows(std::move(sources)), arithmetic_));
  return host<LinearGroup>(std::move(sites), std::move(weight),
                           bias ? at::cat(biases) : at::Tensor());
}

NormHost* Decoder::norm(WeightReader& weights, const std::string& name) {
  Site site{
      .name = name, .kind = SiteKind::norm, .out = spec_.width, .in = 1, .layer = layer_of(name)};
  auto weight = std::make_shared<HostedWeight>(
      pack_as("fp32", weights.source(name + ".weight", spec_.width, 1), Arithmetic::fp32));
  return host<NormHost>(std::move(site), std::move(weight), spec_.norm_eps);
}

Decoder::Decoder(const DecoderSpec& spec, Json config, WeightReader& weights,
                 const LoadOptions& options)
    : spec_(spec) {
  config_ = std::move(config);
  family_ = spec.family;
  vocabulary_ = spec.vocabulary;
  context_ = spec.context;
  width_ = spec.width;
  arithmetic_ = resolve_arithmetic(options);

  const std::string embed = "model.embed_tokens";
  const Format stored = weights.stored_format(embed + ".weight");
  auto table = std::make_shared<HostedWeight>(
      pack_as(storage_format(options, stored, arithmetic_),
              weights.source(embed + ".weight", spec.vocabulary, spec.width), arithmetic_));
  embedding_ = host<EmbeddingHost>(
      Site{.name = embed, .kind = SiteKind::embedding, .out = spec.vocabulary, .in = spec.width},
      table);
  for (int64_t i = 0; i < spec.layers; ++i) {
    const std::string layer = str("model.layers.", i, ".");
    Block block{};
    block.attention_norm = norm(weights, layer + "input_layernorm");
    block.qkv = linear(weights, options, layer + "self_attn.",
                       {{"q_proj", spec.heads * spec.head_dim},
                        {"k_proj", spec.kv_heads * spec.head_dim},
                        {"v_proj", spec.kv_heads * spec.head_dim}},
                       spec.width, spec.attention_bias);
    block.out = linear(weights, options, layer + "self_attn.", {{"o_proj", spec.width}},
                       spec.heads * spec.head_dim, spec.attention_bias);
    block.mlp_norm = norm(weights, layer + "post_attention_layernorm");
    block.gate_up =
        linear(weights, options, layer + "mlp.",
               {{"gate_proj", spec.inner}, {"up_proj", spec.inner}}, spec.width, spec.mlp_bias);
    block.down = linear(weights, options, layer + "mlp.", {{"down_proj", spec.width}}, spec.inner,
                        spec.mlp_bias);
    blocks_.push_back(block);
  }
  norm_ = norm(weights, "model.norm");
  Site head{.name = "lm_head",
            .kind = SiteKind::linear,
            .out = spec.vocabulary,
            .in = spec.width,
            .output_head = true};
  if (spec.tied) {
    head.tied_to = embed;
    head_ = host<LinearGroup>(std::vector<Site>{head}, table, at::Tensor());
  } else {
    auto weight = std::make_shared<HostedWeight>(
        pack_as(storage_format(options, weights.stored_format("lm_head.weight"), arithmetic_),
                weights.source("lm_head.weight", spec.vocabulary, spec.width), arithmetic_));
    head_ = host<LinearGroup>(std::vector<Site>{head}, std::move(weight), at::Tensor());
  }
  weights.finish();
}

const RopeTable& Decoder::rope_for(int64_t positions) const {
  if (!rope_.cos.defined() || rope_.cos.size(0) < positions) {
    const int64_t grown = std::min(spec_.context, std::max<int64_t>(1024, 2 * positions));
    rope_ =
        rope_table(rope_frequencies(spec_.head_dim, spec_.rope_theta), std::max(grown, positions));
  }
  return rope_;
}

void Decoder::check_stream(const Stream& stream, const KvCache* cache) const {
  for (int64_t s = 0; s < stream.sequences(); ++s) {
    const int64_t length = stream.starts[static_cast<size_t>(s) + 1] -
                           stream.starts[static_cast<size_t>(s)] + (cache ? cache->length(s) : 0);
    if (length > spec_.context) {
      throw Error(ErrorKind::data,
                  str("a sequence of ", length, " tokens is longer than the model's context of ",
                      spec_.context));
    }
  }
  const auto [low, high] = stream.ids.aminmax();
  if (low.item<int64_t>() < 0 || high.item<int64_t>() >= spec_.vocabulary) {
    throw Error(
        ErrorKind::data,
        str("token id ", low.item<int64_t>() < 0 ? low.item<int64_t>() : high.item<int64_t>(),
            " is outside the vocabulary of ", spec_.vocabulary));
  }
}

at::Tensor Decoder::attend(const Block& block, int64_t layer, const at::Tensor& h,
                           const Stream& stream, KvCache* cache) const {
  const int64_t n = stream.size(), hd = spec_.head_dim;
  const at::Tensor qkv = block.qkv->forward(h, *stream.rows);
  const auto split =
      qkv.split_with_sizes({spec_.heads * hd, spec_.kv_heads * hd, spec_.kv_heads * hd}, 1);
  int64_t reach = n;  // the furthest position that any row stands at, plus one
  if (cache) reach = stream.positions.max().item<int64_t>() + 1;
  const auto [q, k] =
      rope(split[0].reshape({n, spec_.heads, hd}), split[1].reshape({n, spec_.kv_heads, hd}),
           rope_for(reach), stream.positions);
  const at::Tensor v = split[2].reshape({n, spec_.kv_heads, hd});
  if (!cache)
    return attention(q, k, v, stream.starts, stream.starts).reshape({n, spec_.heads * hd});
  Tensors outputs;
  for (int64_t s = 0; s < stream.sequences(); ++s) {
    const int64_t begin = stream.starts[static_cast<size_t>(s)],
                  m = stream.starts[static_cast<size_t>(s) + 1] - begin;
    const auto [keys, values] =
        cache->append(layer, s, k.narrow(0, begin, m), v.narrow(0, begin, m));
    const int64_t query_starts[] = {0, m}, key_starts[] = {0, keys.size(0)};
    outputs.push_back(attention(q.narrow(0, begin, m), keys, values, query_starts, key_starts));
  }
  return at::cat(outputs, 0).reshape({n, spec_.heads * hd});
}

at::Tensor Decoder::forward(const Stream& stream, KvCache* cache) const {
  SMIDGEN_ASSERT(!cache || cache->sequences() == stream.sequences());
  check_stream(stream, cache);
  const Rows& rows = *stream.rows;
  const at::ScalarType dtype = scalar_type(arithmetic_);
  at::Tensor x = embedding_->forward(stream.ids, rows);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const Block& block = blocks_[i];
    const at::Tensor mixed = attend(block, static_cast<int64_t>(i),
                                    block.attention_norm->forward(x, rows, dtype), stream, cache);
    x = x + block.out->forward(mixed, rows);
    const at::Tensor gate_up =
        block.gate_up->forward(block.mlp_norm->forward(x, rows, dtype), rows);
    const at::Tensor inner =
        swiglu(gate_up.narrow(1, 0, spec_.inner), gate_up.narrow(1, spec_.inner, spec_.inner));
    x = x + block.down->forward(inner, rows);
  }
  if (cache) {
    for (int64_t s = 0; s < stream.sequences(); ++s) {
      cache->advance(
          s, stream.starts[static_cast<size_t>(s) + 1] - stream.starts[static_cast<size_t>(s)]);
    }
  }
  return norm_->forward(x, rows);
}

at::Tensor Decoder::logits(const at::Tensor& hidden, const Rows& rows) const {
  return head_->forward(hidden, rows).to(at::kFloat);
}

at::Tensor Decoder::loss_sum(const at::Tensor& hidden, const Batch& batch) const {
  // Without attachments on the head the product and the loss are one op. A single segment whose
  // head is replaced outright (full tuning) goes the same way with the dense weight.
  const Rows& rows = *batch.main.rows;
  bool plain = true;
  at::Tensor dense;
  for (const Segment& segment : rows.segments) {
    const auto& attachments = head_->slots(0).at(segment.slot);
    if (attachments.empty()) continue;
    plain = false;
    if (rows.segments.size() == 1 && attachments.size() == 1 && attachments[0]->hooks().weight) {
      dense = attachments[0]->weight(attachments[0]->parameters());
    }
  }
  if (plain) return linear_cross_entropy(hidden, head_->weight().current(), batch.targets);
  if (dense.defined()) return linear_cross_entropy(hidden, dense, batch.targets, {}, arithmetic_);
  return cross_entropy(head_->forward(hidden, rows), batch.targets);
}

KvCache Decoder::make_cache(int64_t sequences, int64_t capacity) const {
  return KvCache(spec_.layers, sequences, std::min(capacity, spec_.context), spec_.kv_heads,
                 spec_.head_dim, scalar_type(arithmetic_));
}

std::vector<ModelTensor> Decoder::tensors() const {
  std::vector<ModelTensor> all;
  for (const auto& host : hosts()) {
    for (size_t i = 0; i < host->sites().size(); ++i) {
      const Site& site = host->sites()[i];
      if (!site.tied_to.empty()) continue;
      const auto [row0, row1] = host->weight_rows(i);
      const Host* owner = host.get();
      const bool vector = site.kind == SiteKind::norm;
      all.push_back(
          {site.name + ".weight",
           vector ? std::vector<int64_t>{site.out} : std::vector<int64_t>{site.out, site.in},
           std::string(owner->weight().original().format()),
           [owner, first = row0](int64_t a, int64_t b) {
             return owner->weight().current().tile(first + a, first + b);
           }});
      if (owner->bias()) {
        const at::Tensor values = owner->bias()->narrow(0, row0, row1 - row0);
        all.push_back({site.name + ".bias", {site.out}, "fp32", [values](int64_t a, int64_t b) {
                         return values.narrow(0, a, b - a);
                       }});
      }
    }
  }
  return all;
}

}  // namespace smidgen
