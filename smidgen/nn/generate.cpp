#include "smidgen/nn/generate.h"

#include <algorithm>
#include <memory>
#include <optional>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/nn/stop_text.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {

std::string_view to_string(Finish finish) {
  switch (finish) {
    case Finish::eos:
      return "eos";
    case Finish::string:
      return "string";
    case Finish::length:
      return "length";
    case Finish::context:
      return "context";
    case Finish::interrupted:
      return "interrupted";
  }
  SMIDGEN_ASSERT(!"unknown finish");
}

namespace {

// The text of one sequence on its way out.
class TextOut {
 public:
  TextOut(const GenerateOptions& options, size_t sequence, std::string& text)
      : options_(options), sequence_(sequence), text_(text), stop_(options.stop_strings) {
    if (options.tokenizer) decoder_.emplace(*options.tokenizer, /*skip_special=*/true);
  }

  // True when a stop string is complete.
  bool push(int32_t id) {
    // Models may have more rows in the embedding than the tokenizer has tokens; such an id stands
    // for no text.
    if (!decoder_ || id >= options_.tokenizer->vocabulary_size()) return false;
    emit(stop_.push(decoder_->push(id)));
    return stop_.stopped();
  }
  bool finish() {
    if (!decoder_ || stop_.stopped()) return stop_.stopped();
    emit(stop_.push(decoder_->flush()));
    emit(stop_.flush());
    return stop_.stopped();
  }

 private:
  void emit(const std::string& piece) {
    if (piece.empty()) return;
    text_ += piece;
    if (options_.on_text) options_.on_text(sequence_, piece);
  }
  const GenerateOptions& options_;
  size_t sequence_;
  std::string& text_;
  StopText stop_;
  std::optional<StreamDecoder> decoder_;
};

struct Sequence {
  size_t index = 0;  // in the caller's order
  const Prompt* prompt = nullptr;
  std::vector<int32_t> seen;  // prompt and generated
  std::vector<int32_t> next;  // what the model has not read yet
  Generation* result = nullptr;
  std::unique_ptr<TextOut> text;
  bool done = false;
};

void check(const Model& model, const std::vector<Prompt>& prompts, const GenerateOptions& options) {
  if (options.max_new_tokens < 0)
    throw Error(ErrorKind::usage, str("max_new_tokens is ", options.max_new_tokens),
                "max_new_tokens");
  SMIDGEN_ASSERT(options.stop_strings.empty() || options.tokenizer);
  for (size_t i = 0; i < prompts.size(); ++i) {
    const int64_t length = static_cast<int64_t>(prompts[i].ids.size());
    if (length == 0)
      throw Error(ErrorKind::usage, "the prompt is empty: there is nothing to continue", "prompt");
    if (length > model.context()) {
      throw Error(
          ErrorKind::data,
          str("the prompt has ", length, " tokens and the model's context holds ", model.context()),
          "prompt");
    }
  }
}

void finish(Sequence& s, Finish reason) {
  s.done = true;
  s.result->finish = s.text->finish() ? Finish::string : reason;
}

// The cache of a sequence is emptied where its next length makes all of it another computation.
void start_anew(const Model& model, std::vector<Sequence>& active, KvCache& cache) {
  for (size_t i = 0; i < active.size(); ++i) {
    Sequence& s = active[i];
    const int64_t have = cache.length(static_cast<int64_t>(i)),
                  want = static_cast<int64_t>(s.seen.size());
    if (!model.starts_anew(have, want)) continue;
    cache.truncate(static_cast<int64_t>(i), 0);
    s.next = s.seen;
  }
}

// Takes one token, or finds that the sequence is at its end.
void accept(Sequence& s, int32_t id, const Model& model, const GenerateOptions& options) {
  if (std::find(options.stop_tokens.begin(), options.stop_tokens.end(), id) !=
      options.stop_tokens.end()) {
    return finish(s, Finish::eos);
  }
  s.result->ids.push_back(id);
  s.seen.push_back(id);
  s.next = {id};
  if (options.on_token) options.on_token(s.index, id);
  if (s.text->push(id)) return finish(s, Finish::string);
  if (static_cast<int64_t>(s.result->ids.size()) >= options.max_new_tokens)
    return finish(s, Finish::length);
  if (static_cast<int64_t>(s.seen.size()) >= model.context()) return finish(s, Finish::context);
}

// Scores of the token after the last row of every sequence, fp32 [sequences, vocabulary].
at::Tensor last_scores(const Model& model, const std::vector<Sequence>& active, KvCache& cache) {
  std::vector<std::span<const int32_t>> ids;
  std::vector<int> slots;
  std::vector<int64_t> offsets;
  auto rows = std::make_shared<Rows>();
  for (const Sequence& s : active) {
    ids.push_back(s.next);
    slots.push_back(s.prompt->slot);
    offsets.push_back(static_cast<int64_t>(s.seen.size() - s.next.size()));
    const int64_t row = rows->count++;
    if (rows->segments.empty() || rows->segments.back().slot != s.prompt->slot) {
      rows->segments.push_back({s.prompt->slot, row, row});
    }
    rows->segments.back().end = rows->count;
  }
  const Stream stream = make_stream(ids, slots, offsets);
  const at::Tensor hidden = model.forward(stream, &cache);
  at::Tensor last = at::empty({rows->count}, at::kLong);
  for (int64_t s = 0; s < rows->count; ++s)
    last.mutable_data_ptr<int64_t>()[s] = stream.starts[static_cast<size_t>(s) + 1] - 1;
  return model.logits(hidden.index_select(0, last), *rows).contiguous();
}

}  // namespace

std::vector<Generation> generate(const Model& model, const std::vector<Prompt>& prompts,
                                 const GenerateOptions& options) {
  check(model, prompts, options);
  const c10::InferenceMode inference;
  const Sampler sampler(options.sample);
  std::vector<Generation> results(prompts.size());
  std::vector<Sequence> active;
  int64_t longest = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    Sequence s;
    s.index = i;
    s.prompt = &prompts[i];
    s.seen = s.next = prompts[i].ids;
    s.result = &results[i];
    s.text = std::make_unique<TextOut>(options, i, results[i].text);
    longest = std::max(longest, static_cast<int64_t>(s.seen.size()));
    if (options.max_new_tokens == 0) {
      finish(s, Finish::length);
    } else if (static_cast<int64_t>(s.seen.size()) == model.context()) {
      finish(s, Finish::context);
    } else {
      active.push_back(std::move(s));
    }
  }
  std::stable_sort(active.begin(), active.end(), [](const Sequence& a, const Sequence& b) {
    return a.prompt->slot < b.prompt->slot;
  });
  if (active.empty()) return results;
  KvCache cache = model.make_cache(
      static_cast<int64_t>(active.size()),
      std::min(model.context(), longest + std::min(options.max_new_tokens, model.context())));
  while (!active.empty()) {
    if (options.interrupt && options.interrupt()) {
      for (Sequence& s : active) finish(s, Finish::interrupted);
      break;
    }
    start_anew(model, active, cache);
    const at::Tensor scores = last_scores(model, active, cache);
    const size_t width = static_cast<size_t>(scores.size(1));
    for (size_t i = 0; i < active.size(); ++i) {
      const std::span<const float> row(scores.const_data_ptr<float>() + i * width, width);
      accept(active[i],
             sampler.pick(row, active[i].seen, active[i].seen.size(), active[i].prompt->stream),
             model, options);
    }
    std::vector<int64_t> kept;
    for (size_t i = 0; i < active.size(); ++i) {
      if (!active[i].done) kept.push_back(static_cast<int64_t>(i));
    }
    if (kept.size() == active.size()) continue;
    cache.keep(kept);
    std::erase_if(active, [](const Sequence& s) { return s.done; });
  }
  return results;
}

Generation generate(const Model& model, const Prompt& prompt, const GenerateOptions& options) {
  return std::move(generate(model, std::vector<Prompt>{prompt}, options).front());
}

}  // namespace smidgen
