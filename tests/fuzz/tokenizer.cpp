// tokenizer.json, whatever it says, and texts through what was accepted.
#include "smidgen/text/tokenizer.h"

#include "smidgen/io/json_file.h"
#include "tests/fuzz/fuzz.h"

using namespace smidgen;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::accepted([&] {
    const Json json = parse_json(fuzz::text_of(data, size), "tokenizer.json");
    const Tokenizer tokenizer(read_tokenizer_json(json, nullptr, nullptr, "tokenizer.json"));
    for (const std::string_view text :
         {"Hello  world 42!", "", "\xc3\xa9\xff\xe2\x82 <s>a\n\n", "it's 日本語 🙂"}) {
      const Encoding encoding = tokenizer.encode_with_offsets(text);
      fuzz::require(encoding.ids == tokenizer.encode(text), "offsets do not change ids");
      for (size_t i = 0; i < encoding.ids.size(); ++i) {
        fuzz::require(encoding.ids[i] >= 0 && encoding.ids[i] < tokenizer.vocabulary_size(),
                      "ids are in the vocabulary");
        fuzz::require(encoding.begins[i] <= encoding.ends[i], "a token covers a range");
      }
      std::string streamed;
      StreamDecoder decoder(tokenizer);
      for (const int32_t id : encoding.ids) streamed += decoder.push(id);
      streamed += decoder.flush();
      fuzz::require(streamed == tokenizer.decode(encoding.ids), "streamed text is the text",
                    streamed);
    }
  });
  return 0;
}
