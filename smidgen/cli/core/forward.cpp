// smidgen forward: one pass over a sequence, its numbers in a file.
#include <torch/torch.h>

#include "smidgen/cli/core/verb.h"
#include "smidgen/io/safetensors.h"
#include "smidgen/methods/open_model.h"

namespace smidgen {

namespace {

struct ForwardConfig {
  ModelConfig model;
  std::vector<int64_t> ids;
  std::optional<std::string> text;
  fs::path out;
  std::optional<fs::path> gradients;
  int64_t chunk = 0;
};

template <class V>
void fields(V& v, ForwardConfig& c) {
  fields(v, c.model);
  v("ids", c.ids, {.help = "Token ids of one sequence"});
  v("text", c.text, {.help = "Text of one sequence, as it stands"});
  v("out", c.out,
    {.help =
         "File: logits [tokens, vocabulary] and hidden [tokens, width] (after the last norm), fp32",
     .required = true});
  v("gradients", c.gradients,
    {.help = "File: gradient of the sum of next-token losses for every tensor of the adapter"});
  v("chunk", c.chunk,
    {.help = "Tokens read at a time, through the KV cache as generate reads them; 0 reads all at "
             "once",
     .min = 0});
}

std::vector<int32_t> ids_of(const ForwardConfig& c, LoadedModel& loaded) {
  if (c.text) {
    std::vector<int32_t> ids = loaded.tokenizer().encode(*c.text);
    if (ids.empty())
      throw Error(ErrorKind::usage, "the text is empty: it gives no token", "--text");
    return ids;
  }
  std::vector<int32_t> ids;
  for (const int64_t id : c.ids) {
    if (id < 0 || id >= loaded.model->vocabulary()) {
      throw Error(
          ErrorKind::usage,
          str("token id ", id, " is outside the vocabulary of ", loaded.model->vocabulary()),
          "--ids");
    }
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

// Hidden states and logits of all rows, read as generation reads them: `chunk` tokens after those
// in the cache.
std::pair<at::Tensor, at::Tensor> read_in_chunks(const Model& model, std::span<const int32_t> ids,
                                                 int slot, int64_t chunk) {
  const auto n = static_cast<int64_t>(ids.size());
  KvCache cache = model.make_cache(1, n);
  Tensors hidden, logits;
  for (int64_t at = 0; at < n; at += chunk) {
    const int64_t count = std::min(chunk, n - at);
    if (model.starts_anew(at, at + count)) {
      throw Error(ErrorKind::unsupported,
                  "this model turns every token by other angles as the sequence grows", "--chunk",
                  "leave it out");
    }
    const Stream stream =
        make_stream(ids.subspan(static_cast<size_t>(at), static_cast<size_t>(count)), slot, at);
    hidden.push_back(model.forward(stream, &cache));
    logits.push_back(model.logits(hidden.back(), *stream.rows));
  }
  return {at::cat(hidden), at::cat(logits)};
}

NamedTensor named(std::string name, const at::Tensor& t) {
  SMIDGEN_ASSERT(t.is_contiguous() && t.scalar_type() == at::kFloat);
  const auto* bytes = reinterpret_cast<const std::byte*>(t.const_data_ptr<float>());
  return {std::move(name),
          {.format = Format::f32,
           .shape = t.sizes().vec(),
           .bytes = {bytes, static_cast<size_t>(t.nbytes())}}};
}

void write_gradients(const fs::path& path, const Adapter& adapter) {
  std::vector<NamedTensor> tensors;
  Tensors alive;
  for (const auto& p : adapter.store().parameters()) {
    alive.push_back(p->gradient().contiguous());
    tensors.push_back(named(adapter_tensor_name(p->spec()), alive.back()));
  }
  write_safetensors(path, tensors);
}

void run_forward(const Invocation& invocation) {
  const auto config = read_config<ForwardConfig>(invocation.recipe.values);
  if (config.ids.empty() == !config.text) {
    throw Error(ErrorKind::usage,
                config.text ? "--ids and --text cannot be given together"
                            : "neither --ids nor --text is given",
                "", "give one of them: --ids 1,2,3 or --text 'some words'");
  }
  LoadedModel loaded = open(config.model);
  if (config.gradients && loaded.mix.size() != 1) {
    throw Error(ErrorKind::usage,
                loaded.mix.empty() ? "there is no adapter, so nothing has a gradient"
                                   : str("gradients of ", loaded.mix.size(),
                                         " adapters at once would share names"),
                "--gradients", "give one --adapter");
  }
  const std::vector<int32_t> ids = ids_of(config, loaded);
  const Model& model = *loaded.model;
  if (config.chunk) {
    if (config.gradients)
      throw Error(ErrorKind::usage, "--chunk and --gradients cannot be given together");
    const torch::NoGradGuard no_grad;
    const auto [hidden, logits] = read_in_chunks(model, ids, loaded.slot, config.chunk);
    return write_safetensors(config.out, {named("logits", logits), named("hidden", hidden)});
  }
  Batch batch;
  batch.main = make_stream(ids, loaded.slot);
  at::AutoGradMode with_gradients(config.gradients.has_value());
  const at::Tensor hidden = model.forward(batch.main);
  {
    torch::NoGradGuard no_grad;
    const at::Tensor out = hidden.detach().contiguous();
    const at::Tensor logits = model.logits(out, *batch.main.rows).contiguous();
    write_safetensors(config.out, {named("logits", logits), named("hidden", out)});
  }
  if (!config.gradients) return;
  batch.targets = next_token_targets(batch.main);
  batch.answers = static_cast<int64_t>(ids.size()) - 1;
  Adapter& adapter = loaded.adapters->find(loaded.mix.front().name);
  adapter.store().zero_grad();
  if (batch.answers > 0) model.loss_sum(hidden, batch).backward();
  write_gradients(*config.gradients, adapter);
}

}  // namespace

CoreVerb forward_verb() {
  return {"forward",
          "Write logits and hidden states",
          Json::array({Json::array({"smidgen forward --model model.gguf --text 'Once upon a time' "
                                    "--out out.safetensors",
                                    "for a text"}),
                       Json::array({"smidgen forward --model model.gguf --adapter run/adapter "
                                    "--ids 1,2,3 --dtype fp32 --out out.safetensors",
                                    "for token ids, with an adapter"})}),
          [] { return describe<ForwardConfig>(); },
          run_forward,
          ""};
}

}  // namespace smidgen
