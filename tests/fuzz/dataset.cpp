// Data files. The first byte decides: '#' makes the rest plain text, anything else is JSON lines.
#include "smidgen/text/dataset.h"

#include "smidgen/io/json_file.h"
#include "smidgen/text/chat_template.h"
#include "smidgen/text/tiny_tokenizer.h"
#include "smidgen/text/tokenizer.h"
#include "tests/fuzz/fuzz.h"

using namespace smidgen;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fuzz::Folder folder;
  static const Tokenizer tokenizer = tiny_tokenizer();
  static const ChatTemplate chat(
      "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
      "{% if add_generation_prompt %}<assistant>{% endif %}");
  const std::string_view input = fuzz::text_of(data, size);
  const bool plain = input.starts_with('#');
  const fs::path path = folder.put(plain ? "x.txt" : "x.jsonl", plain ? input.substr(1) : input);
  for (const ChatTemplate* with : {&chat, static_cast<const ChatTemplate*>(nullptr)}) {
    fuzz::accepted([&] {
      const Dataset loaded = load_dataset(std::span(&path, 1), tokenizer, with,
                                          {.max_length = 64, .too_long = TooLong::truncate});
      for (int64_t i = 0; i < loaded.size(); ++i) {
        const Sample sample = loaded.at(i);
        fuzz::require(sample.ids.size() == sample.answer.size() && sample.ids.size() <= 64 &&
                          !sample.answer[0],
                      "a sample is whole");
      }
    });
  }
  return 0;
}
