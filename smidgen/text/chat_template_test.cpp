// Expected texts were compared with jinja2 3.1.6 in transformers' environment.
#include "smidgen/text/chat_template.h"

#include <gtest/gtest.h>

#include "smidgen/base/error.h"
#include "smidgen/io/model_files.h"

namespace smidgen {
namespace {

const char* kChatMl =
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + "
    "'\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

std::string render(const std::string& source, const Json& variables = Json::object()) {
  return ChatTemplate(source, "test").render(Json::array(), variables);
}

void refuse(const std::string& source, ErrorKind kind, const std::string& part) {
  try {
    const ChatTemplate made(source, "test", {.depth = 100, .steps = 200'000, .output = 1 << 20});
    made.render(Json::array(), Json::object());
    FAIL() << "accepted: " << source.substr(0, 80);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST(ChatTemplate, ExpressionsAsPythonPrintsThem) {
  EXPECT_EQ(render("{{ 7 // 2 }} {{ -7 % 3 }} {{ 1/4 }} {{ 2**5 }} {{ none }} {{ [1, 'a', {'b': "
                   "2.0}] }} {{ (1,) }}"),
            "3 2 0.25 32 None [1, 'a', {'b': 2.0}] (1,)");
  EXPECT_EQ(
      render(
          "{{ 'abcdef'[1:-1:2] }}{{ 'abc'[::-1] }}{{ 'x' ~ 1 }}{{ 1 < 2 <= 2 }}{{ 3 not in [1] }}"),
      "bdcbax1TrueTrue");
  EXPECT_EQ(render("{{ x }}{{ x is defined }}{{ 'a' if x }}{{ {'k': [1, none]}|tojson }}"),
            "False{\"k\": [1, null]}");
}

TEST(ChatTemplate, BlocksAndWhiteSpace) {
  EXPECT_EQ(render("a\n  {% if true %}\n  b\n  {% endif %}\nc\n"), "a\n  b\nc");
  EXPECT_EQ(render("{% set n = namespace(i=0) %}{% set q = 1 %}{% for x in [1,2,3,4] %}{% if x == "
                   "2 %}{% continue %}{% endif %}"
                   "{% if x == 4 %}{% break %}{% endif %}{% set n.i = n.i + x %}{% set q = 9 %}{{ "
                   "loop.index }}{% endfor %}={{ n.i }}{{ q }}"),
            "13=41");
  EXPECT_EQ(render("{% macro t(a, b=2) %}[{{ a }}{{ b }}]{% endmacro %}{{ t(1) }}{{ t(1, b=3) }}{% "
                   "raw %}{{ x }}{% endraw %}"),
            "[12][13]{{ x }}");
}

TEST(ChatTemplate, WhatJinjaMakesOnDemandAndWhatItEscapes) {
  EXPECT_EQ(render("{% set g = [1, 2, 3]|map('string') %}{{ g|first }}{{ g|list }}{{ g|list }}"),
            "1['2', '3'][]");
  EXPECT_EQ(render("{{ '<b>'|safe + '<i>' }}{{ '<b>'|safe ~ '<i>' }}"), "<b>&lt;i&gt;<b><i>");
  EXPECT_EQ(render("{% for x in [1, [2, [3]]] recursive %}{{ x if x is number else "
                   "loop.depth ~ loop(x) }}{% endfor %}"),
            "11223");
  EXPECT_EQ(
      render("{{ '%s|%05.1f|%x' % ('a', 3.14159, 255) }} {{ '{:>4}|{a!r}'.format(7, a='q') }}"),
      "a|003.1|ff    7|'q'");
  EXPECT_EQ(render("{{ {1: 'a', none: 'b'}[1.0] }}{{ {2: none}|tojson }}{{ 2.5|round }}{{ 0x1F }}"),
            "a{\"2\": null}2.031");
}

TEST(ChatTemplate, ReasoningIsFoundUnderEachOfItsNames) {
  const ChatTemplate chat(
      "{% for m in messages %}{{ m.thinking }}{{ m.reasoning_content }};{% endfor %}");
  EXPECT_EQ(chat.render(Json::parse(R"([{"role":"a","reasoning":"r"},{"role":"a","thinking":"t"},
    {"role":"a","content":"c"}])"),
                        Json::object()),
            "rr;tt;;");
  EXPECT_THROW(chat.render(Json::parse("[1]"), Json::object()), Error);
}

TEST(ChatTemplate, AnswersByPrefixAndByMark) {
  const Json messages =
      Json::parse(R"([{"role":"user","content":"q"},{"role":"assistant","content":"a1"},
    {"role":"user","content":"r"},{"role":"assistant","content":"a2"}])");
  const auto chat = ChatTemplate(kChatMl).render_with_spans(messages, Json::object());
  ASSERT_EQ(chat.answers.size(), 2u);
  EXPECT_EQ(chat.text.substr(chat.answers[0].begin, chat.answers[0].end - chat.answers[0].begin),
            "a1<|im_end|>\n");
  EXPECT_EQ(chat.text.substr(chat.answers[1].begin, chat.answers[1].end - chat.answers[1].begin),
            "a2<|im_end|>\n");
  const auto marked = ChatTemplate(
                          "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ "
                          "m.content }};{% endgeneration %}"
                          "{% else %}{{ m.content }}:{% endif %}{% endfor %}")
                          .render_with_spans(messages, Json::object());
  EXPECT_EQ(marked.text, "q:a1;r:a2;");
  ASSERT_EQ(marked.answers.size(), 2u);
  EXPECT_EQ(marked.answers[1].begin, 7u);
  EXPECT_EQ(marked.answers[1].end, 10u);
  // Only the last turn is kept: no prefix of the whole.
  EXPECT_THROW(
      ChatTemplate("{{ messages[-1].content }}").render_with_spans(messages, Json::object()),
      Error);
}

TEST(ChatTemplate, OfSeveralTheOneForToolsIsUsedWithTools) {
  ModelFiles files;
  files.path = "m";
  EXPECT_FALSE(load_chat_template(files));
  files.chat_template = "plain";
  EXPECT_EQ(load_chat_template(files)->render(Json::array(), {{"tools", Json::array()}}), "plain");
  EXPECT_EQ(load_chat_template(files, "default")->source(), "plain");
  files.chat_templates = {{"default", "plain"}, {"tool_use", "tools"}, {"rag", "found"}};
  const auto both = load_chat_template(files);
  EXPECT_EQ(both->render(Json::array(), Json::object()), "plain");
  EXPECT_EQ(both->render(Json::array(), {{"tools", nullptr}}), "plain");
  EXPECT_EQ(both->render(Json::array(), {{"tools", Json::array()}}), "tools");
  EXPECT_EQ(both->render_with_spans(Json::array(), {{"tools", Json::array()}}).text, "tools");
  EXPECT_EQ(load_chat_template(files, "rag")->render(Json::array(), {{"tools", Json::array()}}),
            "found");
  try {
    load_chat_template(files, "rga");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(error.hint().find("rag"), std::string::npos) << error.hint();
  }
}

TEST(ChatTemplate, HostileTemplatesAreStopped) {
  refuse("{{ x", ErrorKind::format, "line 1");
  refuse("a\nb{% if x %}", ErrorKind::format, "line 2");
  refuse("\n{% include 'x' %}", ErrorKind::unsupported, "include");
  refuse("{{ 1|nosuch }}", ErrorKind::unsupported, "nosuch");
  refuse("{{ 1 is nosuch }}", ErrorKind::unsupported, "nosuch");
  refuse("{{ [].append(1) }}", ErrorKind::data, "append");
  refuse("{{ x.y }}", ErrorKind::data, "'x' is undefined");
  refuse("{{ raise_exception('no') }}", ErrorKind::data, "no");
  refuse("{{ range(10**9) }}", ErrorKind::data, "range");
  refuse("{{ 'a' * 10**12 }}", ErrorKind::resource, "bytes");
  refuse("{{ 9**99 }}", ErrorKind::data, "64 bits");
  refuse("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
         ErrorKind::resource, "steps");
  refuse(
      "{% set n = namespace(s='ab') %}{% for a in range(99) %}{% set n.s = n.s + n.s %}{% endfor "
      "%}",
      ErrorKind::resource, "bytes");
  refuse("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", ErrorKind::resource, "deep");
  refuse(std::string("{{ ") + std::string(100000, '(') + "1" + std::string(100000, ')') + " }}",
         ErrorKind::format, "deep");
  refuse(std::string("{{ ") + std::string(100000, '-') + "1 }}", ErrorKind::format, "deep");
  std::string sum = "{{ 1", blocks;
  for (int i = 0; i < 100000; ++i) sum += "+1";
  refuse(sum + " }}", ErrorKind::format, "deep");
  for (int i = 0; i < 5000; ++i) blocks += "{% if 1 %}";
  refuse(blocks, ErrorKind::format, "deep");
  refuse("\xFF", ErrorKind::format, "UTF-8");
  // Values grow without nested source: a chain that would overflow the stack, and 60 lists that
  // print as 2^60.
  const auto grow = [](const std::string& step, const std::string& use) {
    return "{% set n = namespace(x=[], y=[]) %}{% for i in range(20000) %}{% set n.x = " + step +
           " %}{% endfor %}{{ " + use + " }}";
  };
  for (const std::string use : {"n.x", "n.x|tojson", "n.x == n.y", "1"}) {
    refuse(grow("[n.x]", use), ErrorKind::resource, "500 deep");
    refuse(grow("{'a': n.x}", use), ErrorKind::resource, "500 deep");
    refuse(grow("(n.x,)", use), ErrorKind::resource, "500 deep");
    refuse(grow("[n.x, n.x]", use), ErrorKind::resource, "line 1");
  }
}

}  // namespace
}  // namespace smidgen
