// 03_adapters MODEL ADAPTER OUT: one base in memory, an adapter on, at half its strength, off, and
// merged for good.
#include <iostream>

#include <smidgen/smidgen.h>

namespace sm = smidgen::api;

// The most likely next token after a text, and its score.
static std::string next(const sm::Model& model, const std::vector<int32_t>& ids) {
  const std::vector<float> scores = model.logits(ids);
  const size_t width = static_cast<size_t>(model.vocabulary()), last = scores.size() - width;
  size_t best = last;
  for (size_t i = last; i < scores.size(); ++i) {
    if (scores[i] > scores[best]) best = i;
  }
  const int32_t id = static_cast<int32_t>(best - last);
  return std::to_string(id) + " " + std::to_string(scores[best]);
}

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: " << argv[0] << " MODEL ADAPTER OUT\n";
    return 2;
  }
  try {
    // fp32 shows more digits of a small change than bf16 has.
    sm::Model model = sm::Model::load(argv[1], {.dtype = "fp32"});
    const std::vector<int32_t> ids = model.encode("Once upon a time");
    const std::string bare = next(model, ids);

    model.load_adapter("mine", argv[2]);  // costs its own size; several share the base
    model.use({{"mine"}});
    std::cout << "on    " << next(model, ids) << "\n";
    model.use({{"mine", 0.5}});
    std::cout << "half  " << next(model, ids) << "\n";
    model.use({});
    std::cout << "off   " << next(model, ids) << "\n";
    if (next(model, ids) != bare) return 1;  // the base's bits are back

    model.use({{"mine"}});
    model.save(argv[3]);  // a folder that transformers opens
    std::cout << "saved " << next(sm::Model::load(argv[3], {.dtype = "fp32"}), ids) << "\n";
  } catch (const smidgen::Error& error) {
    std::cerr << "error: " << error.what() << "\n";
    if (!error.hint().empty()) std::cerr << "hint: " << error.hint() << "\n";
    return 1;
  }
}
