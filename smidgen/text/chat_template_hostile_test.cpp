// Templates that mean harm: each must end in an Error that names the line, in bounded time and
// memory.
#include <ctime>

#include <gtest/gtest.h>

#include "smidgen/base/error.h"
#include "smidgen/text/chat_template.h"

namespace smidgen {
namespace {

std::string times(const std::string& part, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += part;
  return out;
}

// Doubles, or otherwise grows, `n.x` again and again.
std::string grow(const std::string& start, const std::string& step, const std::string& use = "1") {
  return "{% set n = namespace(x=" + start +
         ", y=[]) %}{% for i in range(20000) %}{% set n.x = " + step + " %}{% endfor %}{{ " + use +
         " }}";
}

struct Case {
  const char* name;
  std::string source;
  ErrorKind kind;
  const char* part;
};

const std::vector<Case>& cases() {
  using K = ErrorKind;
  static const std::vector<Case> all = {
      // Growth of text.
      {"double", grow("'ab'", "n.x + n.x"), K::resource, "bytes"},
      {"tilde", grow("'ab'", "n.x ~ n.x"), K::resource, "bytes"},
      {"repeat", "{{ 'a' * 10**12 }}", K::resource, "bytes"},
      {"repeat list", "{{ [1] * 10**12 }}", K::resource, "bytes"},
      {"replace", grow("'aa'", "n.x.replace('a', 'aaaa')"), K::resource, "bytes"},
      {"replace empty", grow("'aa'", "n.x.replace('', n.x)"), K::resource, "bytes"},
      {"replace filter", grow("'aa'", "n.x|replace('a', 'aaaa')"), K::resource, "bytes"},
      {"join", grow("'aa'", "n.x.join(['bb', 'cc', 'dd'])"), K::resource, "bytes"},
      {"join filter", grow("'aa'", "[n.x, n.x, n.x]|join"), K::resource, "bytes"},
      {"indent", grow("'a\\n'", "(n.x ~ n.x)|indent(1000, true)"), K::resource, "bytes"},
      {"center", "{{ 'a'.center(10**12) }}", K::resource, "bytes"},
      {"ljust", "{{ 'a'.ljust(10**12, 'é') }}", K::resource, "bytes"},
      {"zfill", "{{ 'a'.zfill(10**12) }}", K::resource, "bytes"},
      {"expandtabs", "{{ '\t\t'.expandtabs(10**12) }}", K::resource, "bytes"},
      {"width", "{{ '{:>999999999999}'.format(1) }}", K::resource, "bytes"},
      {"nested width", "{{ '{:>{}}'.format(1, 10**12) }}", K::resource, "bytes"},
      {"percent width", "{{ '%999999999999d' % 1 }}", K::resource, "bytes"},
      {"precision", "{{ '{:.99999f}'.format(1.5) }}", K::data, "precision"},
      {"percent precision", "{{ '%.99999f' % 1.5 }}", K::data, "precision"},
      {"escape", grow("'&<'", "(n.x ~ n.x)|e"), K::resource, "bytes"},
      {"tojson", grow("'\\\\'", "n.x|tojson"), K::resource, "bytes"},
      {"upper", grow("'ß'", "(n.x ~ n.x)|upper"), K::resource, "bytes"},
      {"output", "{% for i in range(99999) %}{{ 'abcdefgh' * 1000 }}{% endfor %}", K::resource,
       "bytes"},
      {"captured output",
       "{% set x %}{% for i in range(99999) %}{{ 'abcdefgh' * 1000 }}{% endfor %}{% endset %}",
       K::resource, "bytes"},
      // Growth of values.
      {"deep list", grow("[]", "[n.x]"), K::resource, "500 deep"},
      {"deep dict", grow("[]", "{'a': n.x}"), K::resource, "500 deep"},
      {"deep tuple", grow("[]", "(n.x,)"), K::resource, "500 deep"},
      {"deep by views", grow("{}", "{'a': n.x}.values()|list"), K::resource, "500 deep"},
      {"deep by generators", grow("[]", "[n.x]|map('default')"), K::resource, "500 deep"},
      {"deep by methods", grow("[]", "[n.x].index"), K::resource, "500 deep"},
      {"wide list", grow("[]", "[n.x, n.x]"), K::resource, "line 1"},
      {"wide printed", grow("[]", "[n.x, n.x]", "n.x"), K::resource, "line 1"},
      {"wide list sum", grow("[1]", "n.x + n.x"), K::resource, "line 1"},
      {"wide by batch", grow("[1]", "(n.x + n.x)|batch(1)|list"), K::resource, "line 1"},
      {"fill", "{{ [1]|batch(10**12, 'x')|list }}", K::resource, "steps"},
      {"huge range", "{{ range(10**9) }}", K::data, "range"},
      {"backwards range", "{{ range(0, -(2**62), -1) }}", K::data, "range"},
      {"range of ranges", "{{ range(99999)|map('string')|map('list')|list|length }}", K::resource,
       "steps"},
      // Time.
      {"loops", "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
       K::resource, "steps"},
      {"recursive loop", "{% for a in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
       K::resource, "deep"},
      {"search",
       "{% set a = 'a' * 100000 %}{% set b = 'a' * 50000 ~ 'b' %}{% for i in range(9999) %}"
       "{{ b in a }}{% endfor %}",
       K::resource, "steps"},
      {"count",
       "{% set a = 'a' * 100000 %}{% set b = 'a' * 50000 ~ 'b' %}{% for i in range(9999) %}"
       "{{ a.count(b) }}{{ a.rfind(b) }}{{ a.split(b)|length }}{% endfor %}",
       K::resource, "steps"},
      {"equal lists",
       "{% set a = range(9999)|list %}{% for i in a %}{{ [1.5] in [a, a, a] }}{{ a == a }}{% "
       "endfor %}",
       K::resource, "steps"},
      {"unique", "{{ range(99999)|unique|list }}", K::resource, "steps"},
      {"keys",
       "{% set d = dict(range(99999)|map('string')|batch(2)) %}{% for k in d %}{{ d[k] }}{% endfor "
       "%}",
       K::resource, "steps"},
      {"sort", "{% for i in range(99) %}{{ range(99999)|sort(reverse=true)|first }}{% endfor %}",
       K::resource, "steps"},
      {"namespaces", "{% for i in range(99999) %}{% set x = namespace() %}{% endfor %}",
       K::resource, "steps"},
      // Depth.
      {"macro", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", K::resource, "deep"},
      {"macro in ifs",
       "{% macro m() %}" + times("{% if 1 %}", 90) + "{{ m() }}" + times("{% endif %}", 90) +
           "{% endmacro %}{{ m() }}",
       K::resource, "deep"},
      {"caller", "{% macro m() %}{% call m() %}{{ caller }}{% endcall %}{% endmacro %}{{ m() }}",
       K::resource, "deep"},
      {"macro default", "{% macro m(a=m()) %}{% endmacro %}{{ m() }}", K::resource, "deep"},
      {"brackets", "{{ " + times("(", 100000) + "1" + times(")", 100000) + " }}", K::format,
       "deep"},
      {"lists", "{{ " + times("[", 100000) + times("]", 100000) + " }}", K::format, "deep"},
      {"dicts", "{{ " + times("{'a':", 100000) + "1" + times("}", 100000) + " }}", K::format,
       "deep"},
      {"minuses", "{{ " + times("-", 100000) + "1 }}", K::format, "deep"},
      {"nots", "{{ " + times("not ", 100000) + "1 }}", K::format, "deep"},
      {"sum", "{{ 1" + times("+1", 100000) + " }}", K::format, "deep"},
      {"filters", "{{ 1" + times("|string", 100000) + " }}", K::format, "deep"},
      {"attributes", "{{ a" + times(".a", 100000) + " }}", K::format, "deep"},
      {"calls", "{{ a" + times("()", 100000) + " }}", K::format, "deep"},
      {"conditions", "{{ 1" + times(" if 1 else 1", 100000) + " }}", K::format, "deep"},
      {"blocks", times("{% if 1 %}", 5000), K::format, "deep"},
      {"withs", times("{% with %}", 5000), K::format, "deep"},
      {"targets", "{% for " + times("(", 5000) + "a" + times(")", 5000) + " in b %}{% endfor %}",
       K::format, "deep"},
      {"formats", "{{ '{:{:{:{}}}}'.format(1, 2, 3, 4) }}", K::data, "format"},
      // Numbers.
      {"power", "{{ 9**99 }}", K::data, "64 bits"},
      {"product", "{{ 9999999999 * 9999999999 }}", K::data, "64 bits"},
      {"minus", "{{ -(-9223372036854775807 - 1) }}", K::data, "64 bits"},
      {"quotient", "{{ (-9223372036854775807 - 1) // -1 }}", K::data, "64 bits"},
      {"literal", "{{ 99999999999999999999 }}", K::format, "64 bits"},
      {"long literal", "{{ " + times("9", 100000) + " }}", K::format, "64 bits"},
      {"read", "{{ '99999999999999999999'|int }}", K::data, "64 bits"},
      {"zero", "{{ 1 // 0 }}", K::data, "zero"},
      {"zero rest", "{{ 1.5 % 0 }}", K::data, "zero"},
      // Lexing.
      {"open tag", "{{ x", ErrorKind::format, "line 1"},
      {"open block", "a\nb{% if x %}", ErrorKind::format, "line 2"},
      {"open comment", "\n\n{# x", ErrorKind::format, "line 3"},
      {"open raw", "{% raw %} {% endif %}", ErrorKind::format, "line 1"},
      {"open text", "{{ 'x }}", ErrorKind::format, "line 1"},
      {"brackets crossed", "{{ (1] }}", ErrorKind::format, "line 1"},
      {"not UTF-8", "\xFF", ErrorKind::format, "UTF-8"},
      // What is out of reach.
      {"include", "\n{% include 'x' %}", ErrorKind::unsupported, "include"},
      {"import", "{% import 'x' as y %}", ErrorKind::unsupported, "import"},
      {"extends", "{% extends 'x' %}", ErrorKind::unsupported, "extends"},
      {"do", "{% do x.y() %}", ErrorKind::unsupported, "do"},
      {"class", "{{ ''.__class__() }}", ErrorKind::data, "__class__"},
      {"namespace name", "{% set n = namespace(__init__=1) %}", ErrorKind::data, "'_'"},
      {"append", "{{ [].append(1) }}", ErrorKind::data, "sandbox"},
  };
  return all;
}

class Hostile : public testing::TestWithParam<Case> {};

TEST_P(Hostile, EndsInAnErrorWithItsLine) {
  const Case& hostile = GetParam();
  const std::clock_t began = std::clock();
  try {
    const ChatTemplate made(hostile.source, "test",
                            {.depth = 100, .steps = 1'000'000, .output = 1 << 20});
    made.render(Json::array(), Json::object());
    FAIL() << "accepted: " << hostile.source.substr(0, 200);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), hostile.kind) << error.what();
    EXPECT_NE(std::string(error.what()).find(hostile.part), std::string::npos) << error.what();
    EXPECT_EQ(error.where().rfind("test", 0), 0u) << error.what();
  }
  // Some times what the slowest takes under the sanitizers; far less than what the harm would. Of
  // the processor, since the machine may be busy.
  EXPECT_LT((std::clock() - began) / CLOCKS_PER_SEC, 60);
}

INSTANTIATE_TEST_SUITE_P(Template, Hostile, testing::ValuesIn(cases()), [](const auto& info) {
  std::string name = info.param.name;
  for (char& c : name) c = isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
});

}  // namespace
}  // namespace smidgen
