// 01_generate MODEL PROMPT: an answer, printed as it comes. MODEL is a folder, a GGUF file, or
// BASE+ADAPTER.
#include <iostream>

#include <smidgen/smidgen.h>

namespace sm = smidgen::api;

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: " << argv[0] << " MODEL PROMPT\n";
    return 2;
  }
  try {
    const sm::Model model = sm::Model::load(argv[1]);
    std::cerr << model.family() << ", " << model.weight_bytes() / 1000000 << " MB, arithmetic "
              << model.dtype() << "\n";

    sm::GenerateOptions options{.max_new_tokens = 64, .temperature = 0.7, .top_p = 0.9, .seed = 1};
    options.on_text = [](std::string_view piece) {
      std::cout << piece << std::flush;
      return true;  // false would end the answer here
    };
    const sm::Generation answer = model.has_chat_template()
                                      ? model.chat({{"user", argv[2]}}, options)
                                      : model.generate(argv[2], options);
    std::cout << "\n";
    std::cerr << answer.prompt_tokens << " tokens in, " << answer.ids.size() << " out\n";
  } catch (const smidgen::Error& error) {
    std::cerr << "error: " << error.what() << "\n";
    if (!error.hint().empty()) std::cerr << "hint: " << error.hint() << "\n";
    return 1;
  }
}
