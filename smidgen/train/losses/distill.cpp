// Distillation: the answer tokens' distributions of a teacher, mixed with the tokens themselves.
//
//   loss = sum_t (distill_weight JSD_t + (1 - distill_weight) CE_t) / answer tokens
// JSD: distill.h. The teacher is another model of equal vocabulary, frozen, in the student's
// arithmetic; it may be a bare base or BASE+ADAPTER merged by export. Its logits exist for one
// block of rows at a time, like the student's.
#include "smidgen/train/losses/distill.h"

#include <cmath>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/base/schema.h"
#include "smidgen/nn/packed.h"
#include "smidgen/nn/row_values.h"
#include "smidgen/text/tokenizer.h"
#include "smidgen/train/losses/registry.h"

namespace smidgen {

at::Tensor generalized_jsd(const at::Tensor& student, const at::Tensor& teacher, double divergence,
                           double temperature) {
  const at::Tensor q = torch::log_softmax(student / temperature, -1),
                   p = torch::log_softmax(teacher / temperature, -1);
  const auto kl = [](const at::Tensor& a, const at::Tensor& b) {
    return (a.exp() * (a - b)).sum(-1);
  };
  if (divergence == 0) return kl(p, q);
  if (divergence == 1) return kl(q, p);
  const at::Tensor m = torch::logaddexp(q + std::log1p(-divergence), p + std::log(divergence));
  return divergence * kl(p, m) + (1 - divergence) * kl(q, m);
}

namespace {

struct DistillConfig {
  std::string teacher;
  double divergence = 0;
  double temperature = 1;
  double distill_weight = 0.5;
};

template <class V>
void fields(V& v, DistillConfig& c) {
  v("teacher", c.teacher,
    {.help = "Model folder or GGUF file with the vocabulary of the model that is tuned",
     .required = true});
  v("divergence", c.divergence,
    {.help = "0 forward KL, 1 reverse KL, between them generalised Jensen-Shannon",
     .min = 0,
     .max = 1});
  v("temperature", c.temperature, {.help = "Divides both models' logits", .min = 1e-3});
  v("distill_weight", c.distill_weight,
    {.help = "Share of the teacher; the rest is cross-entropy", .min = 0, .max = 1});
}

class DistillObjective : public Objective {
 public:
  DistillObjective(DistillConfig config, const LossStart& start) : c_(std::move(config)) {
    const ModelFiles files = open_model(c_.teacher);
    if (!files.adapters.empty())
      throw Error(ErrorKind::unsupported, "a teacher with an adapter is not read", "loss.teacher",
                  "export BASE+ADAPTER to a folder first");
    teacher_ = load_model(files, {.dtype = std::string(to_string(start.model.arithmetic()))});
    digest_ = files.digest();
    if (teacher_->vocabulary() != start.model.vocabulary())
      throw Error(ErrorKind::mismatch,
                  str("the teacher has a vocabulary of ", teacher_->vocabulary(),
                      ", the model that is tuned one of ", start.model.vocabulary()),
                  "loss.teacher");
    const auto tokenizer = load_tokenizer(files);
    const int64_t size = std::min(tokenizer->vocabulary_size(), start.tokenizer.vocabulary_size());
    for (int64_t id = 0; id < size; ++id) {
      const auto at = static_cast<int32_t>(id);
      if (tokenizer->token(at) != start.tokenizer.token(at))
        throw Error(ErrorKind::mismatch,
                    str("token ", id, " is '", tokenizer->token(at), "' for the teacher and '",
                        start.tokenizer.token(at), "' for the model that is tuned"),
                    "loss.teacher", "distillation compares the two token by token");
    }
  }

  at::Tensor sum(const LossScene& scene, std::span<const int64_t> units, Tally& tally) override {
    const Batch batch = to_batch(pack(scene.data, units), scene.slot);
    Batch theirs = batch;
    auto bare = std::make_shared<Rows>(*batch.main.rows);
    for (Segment& segment : bare->segments) segment.slot = 0;
    theirs.main.rows = bare;
    theirs.main.slots.assign(batch.main.slots.size(), 0);
    at::Tensor teacher_hidden;
    {
      torch::NoGradGuard no_grad;
      teacher_hidden = teacher_->forward(theirs.main);
    }
    const at::Tensor rows = batch.targets.ne(kIgnoreTarget).nonzero().squeeze(1);
    const at::Tensor targets = batch.targets.index_select(0, rows);
    // Held by value: where the output layer trains, the backward pass asks again.
    const RowFunction mixed = [this, teacher_hidden, rows, targets](const at::Tensor& logits,
                                                                    const at::Tensor& at) {
      at::Tensor teacher_logits;
      {
        torch::NoGradGuard no_grad;
        Rows part;
        part.count = at.size(0);
        part.segments.push_back({0, 0, part.count});
        teacher_logits =
            teacher_->logits(teacher_hidden.index_select(0, rows.index_select(0, at)), part);
      }
      const at::Tensor jsd = generalized_jsd(logits, teacher_logits, c_.divergence, c_.temperature);
      const at::Tensor nll = -log_probability_of(targets)(logits, at);
      return c_.distill_weight * jsd + (1 - c_.distill_weight) * nll;
    };
    const at::Tensor hidden = scene.model.forward(batch.main);
    const at::Tensor values = row_values(scene.model, hidden, scene.slot, rows, mixed);
    tally.units += std::ssize(units);
    tally.answers += batch.answers;
    const at::Tensor each = values.detach();
    int64_t row = 0;
    for (size_t s = 0; s + 1 < batch.main.starts.size(); ++s) {
      const int64_t begin = batch.main.starts[s], length = batch.main.starts[s + 1] - begin;
      const auto asked = batch.targets.narrow(0, begin, length).ne(kIgnoreTarget).sum();
      const int64_t count = asked.item<int64_t>();
      tally.each.push_back({each.narrow(0, row, count).sum(at::kDouble).item<double>(), count});
      row += count;
    }
    return values.to(at::kDouble).sum();
  }
  double divisor(const Tally& tally) const override { return static_cast<double>(tally.answers); }
  Json identity() const override { return digest_; }

 private:
  DistillConfig c_;
  std::unique_ptr<Model> teacher_;
  std::string digest_;
};

class DistillLoss : public Loss {
 public:
  std::string summary() const override {
    return "A teacher's distribution over each answer token, mixed with cross-entropy";
  }
  std::string source() const override { return "arXiv:2306.13649, trl 1.16 GKDTrainer"; }
  Json fields() const override { return describe<DistillConfig>(); }
  int64_t planned_bytes(const Json& config) const override {
    const auto c = read_config<DistillConfig>(config, "loss");
    return static_cast<int64_t>(
        load_model(open_model(c.teacher), {.planned = true})->weight_bytes());
  }
  std::unique_ptr<Objective> start(const Json& config, const LossStart& start) const override {
    return std::make_unique<DistillObjective>(read_config<DistillConfig>(config, "loss"), start);
  }
};

}  // namespace

std::unique_ptr<const Loss> make_distill_loss() {
  return std::make_unique<DistillLoss>();
}

}  // namespace smidgen
