#include <atomic>
#include <map>
#include <mutex>
#include <thread>

#include <torch/torch.h>
#include <torch/version.h>

#include "smidgen/api/guard.h"
#include "smidgen/base/console.h"
#include "smidgen/base/memory.h"
#include "smidgen/cli/core/generate_config.h"
#include "smidgen/cli/core/model_config.h"
#include "smidgen/convert/hf_folder.h"
#include "smidgen/eval/evaluate.h"
#include "smidgen/methods/merge.h"
#include "smidgen/nn/generate.h"
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
  std::map<std::string, std::unique_ptr<Adapter>> adapters;
  std::vector<std::string> order;
  std::vector<AdapterUse> used;
  std::vector<std::string> allow;
  int slot = 0;  // 1 while adapters are attached there
  std::mutex mutex;
  std::atomic<std::thread::id> owner;

  smidgen::Model& model() { return *loaded.model; }

  void add(const std::string& name, std::unique_ptr<Adapter> adapter) {
    if (!adapters.emplace(name, std::move(adapter)).second) {
      throw Error(ErrorKind::usage, str("an adapter '", name, "' is loaded already"), "",
                  "unload it first, or choose another name");
    }
    order.push_back(name);
  }

  void use(const std::vector<AdapterUse>& wanted) {
    std::vector<const Adapter*> chosen;
    std::vector<double> weights;
    bool plain = true;
    for (const AdapterUse& use : wanted) {
      const auto found = adapters.find(use.name);
      if (found == adapters.end()) {
        throw Error(ErrorKind::not_found, str("no adapter '", use.name, "' is loaded"), "",
                    did_you_mean(use.name, order, str("loaded: ", join(order))));
      }
      chosen.push_back(found->second.get());
      weights.push_back(use.weight);
      plain &= use.weight == 1;
    }
    clear();
    try {
      if (plain) {
        for (const Adapter* adapter : chosen) adapter->attach(model(), 1);
        slot = chosen.empty() ? 0 : 1;
      } else {
        merge(model(), chosen, weights);
      }
    } catch (...) {
      clear();  // what was touched before it failed
      throw;
    }
    used = wanted;
  }

  void clear() {
    smidgen::Adapter::detach(model(), 1);
    unmerge(model());
    slot = 0;
    used.clear();
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
    smidgen::GenerateOptions options = generate_options(config, loaded);
    options.stop_strings = o.stop;
    options.interrupt = [&] { return callback.stopped(); };
    if (o.on_text) {
      options.on_text = [&](size_t, std::string_view piece) {
        (void)callback.go_on([&] { return o.on_text(piece); });
      };
    }
    const auto prompt_tokens = static_cast<int64_t>(ids.size());
    smidgen::Generation made =
        smidgen::generate(model(), {.ids = std::move(ids), .slot = slot, .stream = 0}, options);
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
  return SMIDGEN_VERSION;
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
                                                  {"dtype", options.dtype},
                                                  {"base_format", options.base_format}});
    auto state = std::make_unique<State>();
    state->allow = options.allow_config_keys;
    state->loaded =
        open_detached(config.choice, {.dtype = config.dtype, .base_format = config.base_format});
    std::vector<AdapterUse> used;
    for (size_t i = 0; i < state->loaded.adapters.size(); ++i) {
      const std::string name = state->loaded.files.adapters[i].filename().string();
      state->add(name, std::move(state->loaded.adapters[i]));
      used.push_back({name});
    }
    state->loaded.adapters.clear();
    state->use(used);
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
    const Stream stream = make_stream(ids, s.slot);
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
    eval.slot = s.slot;
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

void Model::load_adapter(const std::string& name, const std::string& folder) {
  call(*state_, [&](State& s, Callback&) {
    if (name.empty()) throw Error(ErrorKind::usage, "an adapter needs a name", folder);
    s.add(name, Adapter::load(s.model(), fs::path(folder), {.allow_config_keys = s.allow}));
  });
}

void Model::unload_adapter(const std::string& name) {
  call(*state_, [&](State& s, Callback&) {
    for (const AdapterUse& use : s.used) {
      if (use.name == name)
        throw Error(ErrorKind::usage, str("the adapter '", name, "' is in use"), "",
                    "use({}) first");
    }
    if (s.adapters.erase(name) == 0) {
      throw Error(ErrorKind::not_found, str("no adapter '", name, "' is loaded"), "",
                  did_you_mean(name, s.order));
    }
    std::erase(s.order, name);
  });
}

void Model::use(const std::vector<AdapterUse>& adapters) {
  call(*state_, [&](State& s, Callback&) { s.use(adapters); });
}

std::vector<std::string> Model::adapters() const {
  return call(*state_, [](State& s, Callback&) { return s.order; });
}

std::vector<AdapterUse> Model::in_use() const {
  return call(*state_, [](State& s, Callback&) { return s.used; });
}

void Model::save(const std::string& folder, const std::string& dtype) const {
  call(*state_, [&](State& s, Callback&) {
    check_new_folder(folder);
    const bool attached = s.slot != 0;
    if (attached) {
      std::vector<const Adapter*> used;
      for (const AdapterUse& use : s.used) used.push_back(s.adapters.at(use.name).get());
      merge(s.model(), used, std::vector<double>(used.size(), 1.0));
    }
    try {
      write_hf_folder(s.model(), s.loaded.files, folder, {.dtype = dtype});
    } catch (...) {
      if (attached) unmerge(s.model());
      throw;
    }
    if (attached) unmerge(s.model());
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
