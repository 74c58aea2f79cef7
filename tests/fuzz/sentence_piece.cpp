// tokenizer.model, whatever its bytes, and texts through what was accepted.
#include "smidgen/text/tokenizer.h"
#include "tests/fuzz/fuzz.h"

using namespace smidgen;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::accepted([&] {
    // The first bits choose what the files beside it say.
    const unsigned choice = size > 0 ? data[0] : 0;
    const Json config = {{"legacy", (choice & 1) != 0},
                         {"add_eos_token", (choice & 2) != 0},
                         {"pad_token", "<pad>"},
                         {"added_tokens_decoder", {{"40", {{"content", "<end>"}}}}}};
    const std::string_view text = fuzz::text_of(data, size);
    const std::string_view model = text.substr(size > 0 ? 1 : 0);
    const Tokenizer tokenizer(
        read_sentence_piece(model, {.config = (choice & 4) != 0 ? config : Json()}, "m.model"));
    for (const std::string_view line :
         {"Hello  world 42!", "", " \xc3\xa9\xff\xe2\x82 <s>a\n\n", "\u2581it's 日本語 🙂 "}) {
      const Encoding encoding = tokenizer.encode_with_offsets(line);
      fuzz::require(encoding.ids == tokenizer.encode(line), "offsets do not change ids");
      for (const int32_t id : encoding.ids)
        fuzz::require(id >= 0 && id < tokenizer.vocabulary_size(), "ids are in the vocabulary");
    }
    const Json written = tokenizer_json(tokenizer);
    const auto read_again = [&] {
      const Tokenizer again(read_tokenizer_json(written, nullptr, nullptr, "written"));
      fuzz::require(again.vocabulary_size() == tokenizer.vocabulary_size(), "no token is lost");
    };
    fuzz::require(fuzz::accepted(read_again), "what is written can be read");
  });
  return 0;
}
