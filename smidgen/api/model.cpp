#include <atomic>
#include <mutex>
#include <thread>

#include <torch/torch.h>
#include <torch/version.h>

#include "smidgen/api/guard.h"
#include "smidgen/base/console.h"
#include "smidgen/base/memory.h"
#include "smidgen/base/version.h"
#include "smidgen/convert/hf_folder.h"
#include "smidgen/eval/evaluate.h"
#include "smidgen/methods/merge.h"
#include "smidgen/methods/open_model.h"
#include "smidgen/nn/generate_config.h"
#include "smidgen/smidgen.h"
#include "smidgen/text/dataset.h"

namespace smidgen::api {
namespace {

// Serialises the calls of one model, and tells a callback that calls back from another thread that
// waits.
class Turn {
 public:
  Turn(std::mutex& mutex, std::atomic<std::thread::id>& owner) : owner_(owner) {
    if (owner.load() == std::this_thread::get_id()) {
      throw Error(ErrorKind::usage, "a callback called the model that it was called from", "",
                  "return first, or use another Model");
    }
    lock_ = std::unique_lock(mutex);
    owner_ = std::this_thread::get_id();
  }
  ~Turn() { owner_ = std::thread::id(); }
  Turn(const Turn&) = delete;

 private:
  std::unique_lock<std::mutex> lock_;
  std::atomic<std::thread::id>& owner_;
};

Finish finish_of(smidgen::Finish finish) {
  switch (finish) {
    case smidgen::Finish::eos:
      return Finish::eos;
    case smidgen::Finish::string:
      return Finish::stop;
    case smidgen::Finish::length:
      return Finish::length;
    case smidgen::Finish::context:
      return Finish::context;
    case smidgen::Finish::interrupted:
      return Finish::interrupted;
  }
  return Finish::length;
}

Json messages_of(const std::vector<Message>& conversation) {
  Json messages = Json::array();
  for (const Message& m : conversation) {
    messages.push_back({{"role", m.role}, {"content", m.content}});
  }
  return messages;
}

}  // namespace

struct Model::State {
  LoadedModel loaded;
  ModelOptions load_options;
  std::mutex mutex;
  std::atomic<std::thread::id> owner;

  smidgen::Model& model() { return *loaded.model; }
  AdapterSet& adapters() { return *loaded.adapters; }

  // One that fails leaves in use what was.
  void use(const std::vector<AdapterUse>& wanted) {
    Mix mix;
    for (const AdapterUse& use : wanted) mix.push_back({use.name, use.weight});
    loaded.slot = adapters().slot(mix);
    loaded.mix = std::move(mix);
  }

  Generation generate(std::vector<int32_t> ids, const GenerateOptions& o, Callback& callback) {
    // Through the command's field list, which knows every range.
    const auto config = read_config<SamplingConfig>({{"max_new_tokens", o.max_new_tokens},
                                                     {"greedy", o.greedy},
                                                     {"temperature", o.temperature},
                                                     {"top_k", o.top_k},
                                                     {"top_p", o.top_p},
                                                     {"min_p", o.min_p},
                                                     {"repetition_penalty", o.repetition_penalty},
                                                     {"seed", o.seed},
                                                     {"ignore_eos", o.ignore_eos}});
    smidgen::GenerateOptions options = generate_options(config, loaded.files, loaded.tokenizer());
    options.stop_strings = o.stop;
    options.interrupt = [&] { return callback.stopped(); };
    if (o.on_text) {
      options.on_text = [&](size_t, std::string_view piece) {
        (void)callback.go_on([&] { return o.on_text(piece); });
      };
    }
    const auto prompt_tokens = static_cast<int64_t>(ids.size());
    smidgen::Generation made = smidgen::generate(
        model(), {.ids = std::move(ids), .slot = loaded.slot, .stream = 0}, options);
    return {std::move(made.text), std::move(made.ids), prompt_tokens, finish_of(made.finish)};
  }
};

namespace {

// A call into a model: one at a time, errors of one type, the callback's own exception last.
template <class State, class Body>
auto call(State& state, Body&& body) {
  Callback callback;
  const auto run = [&] {
    const Turn turn(state.mutex, state.owner);
    return body(state, callback);
  };
  if constexpr (std::is_void_v<decltype(guarded(run))>) {
    guarded(run);
    callback.rethrow();
  } else {
    try {
      auto result = guarded(run);
      callback.rethrow();
      return result;
    } catch (const Error&) {
      callback.rethrow();
      throw;
    }
  }
}

}  // namespace

void enter() {
  static const bool done = [] {
    console().set_mode({.quiet = true});  // notes and progress belong to the command
    limit_product_caches();
    return true;
  }();
  (void)done;
}

std::string version() {
  return smidgen::version();
}

std::string torch_version() {
  return TORCH_VERSION;
}

void set_threads(int count) {
  if (count < 1) {
    throw Error(ErrorKind::usage, str("threads is ", count, ", but must be at least 1"), "threads");
  }
  guarded([&] { at::set_num_threads(count); });
}

int threads() {
  return at::get_num_threads();
}

Model::Model(std::unique_ptr<State> state) : state_(std::move(state)) {}
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;
Model::~Model() = default;

Model Model::load(const std::string& path, const ModelOptions& options) {
  return guarded([&] {
    const auto config = read_config<ModelConfig>({{"model", path},
                                                  {"allow_config_key", options.allow_config_keys},
                                                  {"allow_other_base", options.allow_other_base},
                                                  {"dtype", options.dtype},
                                                  {"base_format", options.base_format}});
    auto state = std::make_unique<State>();
    state->load_options = options;
    state->loaded =
        open_detached(config.choice, {.dtype = config.dtype, .base_format = config.base_format});
    state->loaded.slot = state->adapters().slot(state->loaded.mix);
    return Model(std::move(state));
  });
}

std::vector<int32_t> Model::encode(std::string_view text) const {
  return call(*state_, [&](State& s, Callback&) { return s.loaded.tokenizer().encode(text); });
}

std::string Model::decode(std::span<const int32_t> ids) const {
  return call(*state_, [&](State& s, Callback&) { return s.loaded.tokenizer().decode(ids); });
}

bool Model::has_chat_template() const {
  return call(*state_, [&](State& s, Callback&) { return s.loaded.chat_template() != nullptr; });
}

std::vector<int32_t> Model::encode_chat(const std::vector<Message>& conversation) const {
  return call(*state_,
              [&](State& s, Callback&) { return chat_ids(s.loaded, messages_of(conversation)); });
}

Generation Model::chat(const std::vector<Message>& conversation,
                       const GenerateOptions& options) const {
  return call(*state_, [&](State& s, Callback& c) {
    return s.generate(chat_ids(s.loaded, messages_of(conversation)), options, c);
  });
}

Generation Model::generate(std::string_view text, const GenerateOptions& options) const {
  return call(*state_, [&](State& s, Callback& c) {
    return s.generate(s.loaded.tokenizer().encode(text), options, c);
  });
}

Generation Model::generate_ids(std::span<const int32_t> ids, const GenerateOptions& options) const {
  return call(*state_, [&](State& s, Callback& c) {
    return s.generate({ids.begin(), ids.end()}, options, c);
  });
}

std::vector<float> Model::logits(std::span<const int32_t> ids) const {
  return call(*state_, [&](State& s, Callback&) {
    const torch::NoGradGuard no_grad;
    if (ids.empty()) throw Error(ErrorKind::usage, "there are no ids", "ids");
    for (const int32_t id : ids) {
      if (id >= 0 && id < s.model().vocabulary()) continue;
      throw Error(ErrorKind::usage,
                  str("token id ", id, " is outside the vocabulary of ", s.model().vocabulary()),
                  "ids");
    }
    const Stream stream = make_stream(ids, s.loaded.slot);
    const at::Tensor hidden = s.model().forward(stream);
    const at::Tensor scores = s.model().logits(hidden, *stream.rows).contiguous();
    const float* first = scores.const_data_ptr<float>();
    return std::vector<float>(first, first + scores.numel());
  });
}

Score Model::score(const std::vector<std::string>& files, const ScoreOptions& options) const {
  return call(*state_, [&](State& s, Callback& callback) {
    DatasetOptions data_options;
    data_options.max_length = options.max_length ? options.max_length : s.model().context();
    data_options.too_long = options.truncate ? TooLong::truncate : TooLong::error;
    data_options.chat_template = options.chat_template ? TemplateUse::automatic : TemplateUse::none;
    const std::vector<fs::path> paths(files.begin(), files.end());
    const Dataset data =
        load_dataset(paths, s.loaded.tokenizer(), s.loaded.chat_template(), data_options);
    EvalOptions eval;
    eval.slot = s.loaded.slot;
    eval.micro_tokens = options.micro_tokens;
    eval.stop = [&] { return callback.stopped(); };
    if (options.on_progress) {
      eval.progress = [&](int64_t done, int64_t total) {
        (void)callback.go_on([&] { return options.on_progress(done, total); });
      };
    }
    const EvalResult result = evaluate(s.model(), data, eval);
    return Score{result.loss(), result.perplexity(), result.tokens, result.samples};
  });
}

void Model::load_adapter(const std::string& name, const std::string& path) {
  call(*state_, [&](State& s, Callback&) {
    if (name.empty()) throw Error(ErrorKind::usage, "an adapter needs a name", path);
    const AdapterFiles files = open_adapter(path, s.loaded.files);
    check_base(files, s.loaded.files, s.load_options.allow_other_base);
    s.adapters().add(name, Adapter::load(s.model(), files,
                                         {.allow_config_keys = s.load_options.allow_config_keys}));
  });
}

void Model::unload_adapter(const std::string& name) {
  call(*state_, [&](State& s, Callback&) {
    for (const Share& share : s.loaded.mix) {
      if (share.name == name)
        throw Error(ErrorKind::usage, str("the adapter '", name, "' is in use"), "",
                    "use({}) first");
    }
    s.adapters().remove(name);
  });
}

void Model::use(const std::vector<AdapterUse>& adapters) {
  call(*state_, [&](State& s, Callback&) { s.use(adapters); });
}

std::vector<std::string> Model::adapters() const {
  return call(*state_, [](State& s, Callback&) { return s.adapters().names(); });
}

std::vector<AdapterUse> Model::in_use() const {
  return call(*state_, [](State& s, Callback&) {
    std::vector<AdapterUse> used;
    for (const Share& share : s.loaded.mix) used.push_back({share.name, share.scale});
    return used;
  });
}

void Model::save(const std::string& folder, const std::string& dtype) const {
  call(*state_, [&](State& s, Callback&) {
    check_new_folder(folder);
    if (!s.loaded.mix.empty()) merge(s.model(), s.adapters(), s.loaded.mix);
    try {
      write_hf_folder(s.model(), s.loaded.files, folder, {.dtype = dtype});
    } catch (...) {
      unmerge(s.model());
      throw;
    }
    unmerge(s.model());
  });
}

std::string Model::path() const {
  return call(*state_, [](State& s, Callback&) { return s.loaded.files.path.string(); });
}

std::string Model::family() const {
  return call(*state_, [](State& s, Callback&) { return s.model().family(); });
}

std::string Model::dtype() const {
  return call(*state_,
              [](State& s, Callback&) { return std::string(to_string(s.model().arithmetic())); });
}

int64_t Model::vocabulary() const {
  return call(*state_, [](State& s, Callback&) { return s.model().vocabulary(); });
}

int64_t Model::context() const {
  return call(*state_, [](State& s, Callback&) { return s.model().context(); });
}

uint64_t Model::weight_bytes() const {
  return call(*state_, [](State& s, Callback&) { return uint64_t{s.model().weight_bytes()}; });
}

}  // namespace smidgen::api
