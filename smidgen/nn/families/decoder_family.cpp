#include "smidgen/nn/families/decoder_family.h"

#include <algorithm>

#include "smidgen/base/log.h"
#include "smidgen/nn/families/gguf_map.h"

namespace smidgen {

namespace {

class DecoderFamilyEntry : public Family {
 public:
  explicit DecoderFamilyEntry(DecoderFamily family) : f_(std::move(family)) {}
  std::string summary() const override { return f_.summary; }
  std::vector<std::string> model_types() const override { return f_.model_types; }
  std::vector<std::string> gguf_architectures() const override { return f_.gguf_architectures; }
  std::string gguf_marker() const override { return f_.gguf_marker; }
  std::string model_class() const override { return f_.model_class; }
  const KeyTable& keys() const override { return f_.keys; }
  const TensorRows& tensors() const override { return f_.tensors; }
  int64_t head_dim(const Json& config) const override {
    return spec_of(config, "config.json").head_dim;
  }
  std::vector<RopeSpec> ropes(const Json& config) const override {
    return spec_of(config, "config.json").ropes;
  }
  std::vector<NamedShape> shapes(const Json& config) const override {
    const DecoderSpec spec = spec_of(config, "config.json");
    std::vector<NamedShape> all;
    for (const TensorRow& row : f_.tensors) {
      if (row.part == Part::head && spec.tied) continue;
      const PartShape p = shape_of(spec, row.part);
      std::vector<int64_t> shape{p.out};
      if (p.in > 1) shape.push_back(p.in);
      if (row.layout == Layout::transposed) std::reverse(shape.begin(), shape.end());
      const int64_t layers = in_block(row.part) ? spec.layers() : 1;
      const int64_t experts = of_expert(row.part) ? spec.experts : 1;
      for (int64_t i = 0; i < layers; ++i) {
        if (in_block(row.part) && !block_has(spec, i, row.part)) continue;
        for (int64_t e = 0; e < experts; ++e) {
          const std::string module = TensorPlace{&row, i, e}.hf();
          all.push_back({module + ".weight", shape});
          if (p.bias) all.push_back({module + ".bias", {p.out}});
        }
      }
    }
    return all;
  }
  bool same_model(const Json& a, const Json& b) const override {
    return spec_of(a, "config.json") == spec_of(b, "config.json");
  }

  std::unique_ptr<Model> load(const ModelFiles& files, const LoadOptions& options) const override {
    const bool folder = files.kind == ModelFiles::Kind::folder;
    const Json config = folder ? files.config : config_of_gguf(*this, *files.gguf);
    const std::string where = folder ? (files.path / "config.json").string() : files.path.string();
    DecoderSpec spec = spec_of(config, where, /*note=*/true);
    std::vector<std::string> ignorable = f_.ignorable_tensors;
    ignorable.insert(ignorable.end(), {".*rotary_emb\\.inv_freq", "rope_freqs\\.weight",
                                       "rope_factors_(long|short)\\.weight"});
    if (spec.tied && folder) spec.tied = !another_head(files, ignorable, where);
    WeightReader weights(files, f_.tensors, ignorable, spec.head_dim);
    return std::make_unique<Decoder>(spec, config, weights, options);
  }

 private:
  DecoderSpec spec_of(const Json& config, const std::string& where, bool note = false) const {
    const Json flat = with_flat_rope(config);
    ConfigReader reader(flat, where, f_.keys);
    DecoderSpec spec = f_.spec(reader);
    spec.family = f_.model_types.front();
    if (note) reader.finish(f_.ignorable_keys);
    validate(spec, where);
    return spec;
  }

  std::string name_of(Part part) const {
    const auto found = std::find_if(f_.tensors.begin(), f_.tensors.end(),
                                    [&](const TensorRow& r) { return r.part == part; });
    SMIDGEN_ASSERT(found != f_.tensors.end());
    return found->hf + ".weight";
  }

  // A tied checkpoint may still store the output matrix. Usually it is the embedding again and
  // need not be read; where it is another matrix, it is used, as transformers 5 does.
  bool another_head(const ModelFiles& files, std::vector<std::string>& ignorable,
                    const std::string& where) const {
    const std::string head = name_of(Part::head), embedding = name_of(Part::embedding);
    if (!files.tensors->contains(head) || !files.tensors->contains(embedding)) return false;
    const TensorView own = files.tensors->view(head), table = files.tensors->view(embedding);
    const bool same =
        own.format == table.format &&
        std::equal(own.bytes.begin(), own.bytes.end(), table.bytes.begin(), table.bytes.end());
    files.tensors->release(own.bytes);
    files.tensors->release(table.bytes);
    if (same) {
      ignorable.push_back(head);
    } else {
      log_note(
          "config.json ties the output matrix to the embedding, but the file holds another one, "
          "which is used (",
          where, ")");
    }
    return !same;
  }

  DecoderFamily f_;
};

}  // namespace

std::unique_ptr<const Family> decoder_family(DecoderFamily family) {
  return std::make_unique<DecoderFamilyEntry>(std::move(family));
}

}  // namespace smidgen
