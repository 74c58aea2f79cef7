// Chat templates: the source is the input, the conversations are fixed.
#include "smidgen/text/chat_template.h"

#include "smidgen/text/utf8.h"
#include "tests/fuzz/fuzz.h"

using namespace smidgen;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Json talk =
      Json::parse(R"([{"role":"system","content":"Be brief."},{"role":"user","content":"Wer? \n42"},
    {"role":"assistant","content":"Ich.","tool_calls":[{"type":"function","function":{"name":"f","arguments":{"a":[1,2.5,null]}}}]}])");
  static const Json variables = {{"bos_token", "<s>"},
                                 {"eos_token", "</s>"},
                                 {"add_generation_prompt", true},
                                 {"tools", nullptr}};
  fuzz::accepted([&] {
    const ChatTemplate chat(std::string(fuzz::text_of(data, size)), "template",
                            {.depth = 100, .steps = 50'000, .output = size_t{1} << 20});
    fuzz::accepted([&] { (void)chat.render(talk, variables); });
    fuzz::accepted([&] {
      const RenderedChat shown = chat.render_with_spans(talk, variables);
      size_t at = 0;
      for (const TextSpan& span : shown.answers) {
        fuzz::require(at <= span.begin && span.begin <= span.end && span.end <= shown.text.size(),
                      "spans are in order");
        at = span.end;
      }
    });
  });
  return 0;
}
