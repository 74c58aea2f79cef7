#include "smidgen/convert/verify.h"

#include <algorithm>

#include <torch/torch.h>

#include "smidgen/base/error.h"

namespace smidgen {

namespace {

constexpr int64_t kMostTokens = 256;

at::Tensor logits(const Model& model, std::span<const int32_t> ids, int slot) {
  const Stream stream = make_stream(ids, slot);
  return model.logits(model.forward(stream), *stream.rows).to(at::kFloat);
}

std::shared_ptr<const Tokenizer> tokenizer_of(const ModelFiles& files) {
  return has_tokenizer(files) ? load_tokenizer(files) : nullptr;
}

}  // namespace

const char* const kVerificationText =
    "In 1969 the first people walked on the moon. \"It's 384,400 km away,\" she said; def f(x):\n"
    "    return x ** 2  # na\u00efve\n\nQ: What is 17 + 25?\nA: 42.";

std::vector<int32_t> verification_ids(const Model& model, const Tokenizer* tokenizer) {
  std::vector<int32_t> ids;
  if (tokenizer) {
    ids = tokenizer->encode(kVerificationText);
  } else {
    for (int32_t i = 0; i < 64; ++i)
      ids.push_back(static_cast<int32_t>((1 + 37 * i) % model.vocabulary()));
  }
  const int64_t most = std::min(kMostTokens, model.context());
  if (static_cast<int64_t>(ids.size()) > most) ids.resize(static_cast<size_t>(most));
  return ids;
}

Json Verification::to_json() const {
  return {{"positions", positions}, {"max_abs", max_abs},   {"relative", relative},
          {"mean_kl", mean_kl},     {"same_top", same_top}, {"lossless", lossless}};
}

Verification compare(const Model& before, const Model& after, std::span<const int32_t> ids,
                     int slot_before, int slot_after) {
  torch::NoGradGuard no_grad;
  if (before.vocabulary() != after.vocabulary()) {
    throw Error(ErrorKind::mismatch, str("one model has ", before.vocabulary(),
                                         " logits a position, the other ", after.vocabulary()));
  }
  const at::Tensor z = logits(before, ids, slot_before), other = logits(after, ids, slot_after);
  Verification v;
  v.positions = z.size(0);
  const auto not_finite = [](const at::Tensor& x) {
    return x.isfinite().logical_not().sum().item<int64_t>();
  };
  v.not_finite_before = not_finite(z), v.not_finite_after = not_finite(other);
  v.max_abs = (z - other).abs().max().item<double>();
  v.relative = v.max_abs / std::max(z.abs().max().item<double>(), 1e-30);
  const at::Tensor p = z.to(at::kDouble).log_softmax(-1), q = other.to(at::kDouble).log_softmax(-1);
  v.mean_kl = (p.exp() * (p - q)).sum(-1).mean().item<double>();
  v.same_top = (z.argmax(-1) == other.argmax(-1)).to(at::kDouble).mean().item<double>();
  return v;
}

Verification verify(const Model& model, const ModelFiles& files, const fs::path& out,
                    bool lossless) {
  const ModelFiles written = open_model(out.string());
  const auto before = tokenizer_of(files), after = tokenizer_of(written);
  if (before && after && before->encode(kVerificationText) != after->encode(kVerificationText)) {
    throw Error(ErrorKind::mismatch, "the written tokenizer gives other ids for the text",
                out.string());
  }
  const std::unique_ptr<Model> reloaded =
      load_model(written, {.dtype = "fp32", .base_format = "stored"});
  Verification v = compare(model, *reloaded, verification_ids(model, before.get()));
  v.lossless = lossless;
  return v;
}

void require_equal(const Verification& v, const fs::path& out) {
  // Written so that NaN is above the bound.
  if (v.lossless && !(v.relative <= kLosslessBound)) {
    throw Error(ErrorKind::mismatch,
                str("the written model differs: logits by ", v.max_abs, ", relative ", v.relative,
                    ", where ", kLosslessBound, " is allowed"),
                out.string());
  }
}

}  // namespace smidgen
