#include "smidgen/text/chat_template_choice.h"

#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/text/chat_template.h"

namespace smidgen {
namespace {

const Json kTalk = Json::parse(R"([
  {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
  {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Bye"}])");

std::string rendered(const std::string& name, const Json& messages, bool prompt) {
  const ChatTemplate chat(*choose_chat_template(name, {}), name);
  return chat.render(
      messages, {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"add_generation_prompt", prompt}});
}

TEST(ChatTemplateChoice, BuiltInTemplatesWriteTheirFormats) {
  EXPECT_EQ(rendered("chatml", kTalk, true),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
            "<|im_start|>assistant\n");
  EXPECT_EQ(rendered("llama3", kTalk, true),
            "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n");
  EXPECT_EQ(rendered("mistral", kTalk, true),
            "<s> [INST] Be brief.\n\nHi [/INST] Hello</s> [INST] Bye [/INST]");
  EXPECT_EQ(rendered("exaone", kTalk, true),
            "[|system|]Be brief.[|endofturn|]\n[|user|]Hi\n[|assistant|]Hello[|endofturn|]\n"
            "[|user|]Bye\n[|assistant|]");
  EXPECT_EQ(rendered("alpaca", kTalk, true),
            "Be brief.\n\n### Instruction:\nHi\n\n### Response:\nHello</s>\n\n### Instruction:\n"
            "Bye\n\n### Response:\n");
}

TEST(ChatTemplateChoice, BuiltInTemplatesWithoutASystemMessage) {
  const Json talk = Json::array({kTalk[1]});
  EXPECT_EQ(rendered("chatml", talk, false), "<|im_start|>user\nHi<|im_end|>\n");
  EXPECT_EQ(rendered("exaone", talk, false), "[|system|][|endofturn|]\n[|user|]Hi\n");
  EXPECT_EQ(rendered("mistral", talk, false), "<s> [INST] Hi [/INST]");
  EXPECT_EQ(rendered("alpaca", talk, false), "### Instruction:\nHi\n\n");
}

TEST(ChatTemplateChoice, TurnsOutOfOrderAreRefused) {
  const Json talk = Json::array({kTalk[1], kTalk[1]});
  EXPECT_EQ(error_of([&] { rendered("mistral", talk, false); }).substr(0, 5), "data:");
  const Json odd = Json::array({{{"role", "critic"}, {"content", "no"}}});
  EXPECT_EQ(error_of([&] { rendered("alpaca", odd, false); }).substr(0, 5), "data:");
}

// Training marks the answers by rendering beginnings of the conversation.
TEST(ChatTemplateChoice, AnswersCanBeMarked) {
  for (const auto& [name, source] : built_in_chat_templates()) {
    const ChatTemplate chat(source, name);
    const RenderedChat made =
        chat.render_with_spans(kTalk, {{"bos_token", "<s>"}, {"eos_token", "</s>"}});
    ASSERT_EQ(made.answers.size(), 1u) << name;
    const TextSpan span = made.answers[0];
    const std::string answer = made.text.substr(span.begin, span.end - span.begin);
    EXPECT_NE(answer.find("Hello"), std::string::npos) << name;
    EXPECT_EQ(answer.find("Hi"), std::string::npos) << name;
  }
}

TEST(ChatTemplateChoice, AutoTakesTheMostFrequent) {
  EXPECT_EQ(choose_chat_template("auto", {"{{ a }}", " {{ b }}\n", "", "{{ b }}"}), "{{ b }}");
  EXPECT_EQ(choose_chat_template("auto", {"{{ a }}", "{{ b }}"}), "{{ a }}");
  EXPECT_EQ(choose_chat_template("auto", {"", " \n"}), std::nullopt);
}

TEST(ChatTemplateChoice, ATemplateIsTakenAsItIs) {
  const std::string source = "{% for m in messages %}{{ m.content }}{% endfor %} ";
  EXPECT_EQ(choose_chat_template(source, {}), source);
  EXPECT_EQ(error_of([] { choose_chat_template("chatlm", {}); }),
            "usage: 'chatlm' is no chat template (chat_template) did you mean 'chatml'?");
  EXPECT_EQ(error_of([] { choose_chat_template("{{ messages }}", {}); }).substr(0, 6), "usage:");
  EXPECT_EQ(error_of([] { choose_chat_template("messages without any brace", {}); }).substr(0, 6),
            "usage:");
  EXPECT_EQ(error_of([] {
              choose_chat_template("{% for m in messages %}{{ m.content }}", {});
            }).substr(0, 7),
            "format:");
}

}  // namespace
}  // namespace smidgen
