"""The template language against jinja2 in the environment of transformers: constructs, conversations, random templates."""
import pytest

from support import template_grammar, templates

# One line for each corner that a chat template of the wild has been seen to stand in.
SNIPPETS = r"""
{{ none }} {{ true }} {{ 1.0 }} {{ 1e16 }} {{ 1e-5 }} {{ -0.0 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7.5 // -2 }} {{ -7.5 % 2 }}
{{ [unknown, none, 'a', "it's", 1.5, true, (1,), {}] }}
{{ {1: 'a', 'b': 2, none: 3, true: 4, (1, 2): 5}[1] }} {{ {2: 'x'}|tojson }} {{ {1: 1}[1.0] }}
{{ [1, 2]|map('string')|join('-') }} {{ 'yes' if [].append is defined else 'no' }}
{% if []|selectattr('x') %}always{% endif %}{% set g = [1, 2]|map('string') %}{{ g|first }}{{ g|list }}{{ g|list }}
{{ [1]|map('string')|length }}
{{ none|selectattr('x')|list }} {{ none|list }}
{{ d.items() }}{{ d.keys() }}{{ d.values() }}{{ range(3) }}{{ range(1, 9, 3) }}{{ range(5)[2] }}
{{ d.items()[0] }}{{ d.items() is sequence }}{{ d.items() is iterable }}{{ range(2) is sequence }}
{{ 'a'|safe + '<b>' }}{{ '<'|e ~ '<' }}{{ ('<'|e) * 2 }}{{ '<'|e|upper }}{{ '<a>'|safe|length }}
{{ 'ß'.upper() }}{{ 'ΑΣ'.lower() }}{{ 'ǆx ﬁn'.title() }}{{ 'İ'.lower() }}{{ "they're bill's"|title }}{{ "they're".title() }}
{{ 'a b  c '.split(none, 1) }}{{ ' a b c'.rsplit(none, 1) }}{{ 'a,b,,'.split(',') }}{{ ''.split(',') }}{{ ''.split() }}
{{ '%s is %05.1f, %r, %x, %5s|%-5s|, %%' % ('x', 3.14159, 'q', 255, 'ab', 'cd') }}
{{ '{} {0}'.format(1) }}
{{ '{:>6}|{:<6}|{:^6}|{:06.2f}|{:,}|{:+d}|{:#x}|{:e}|{!r}'.format('a', 'b', 'c', 3.14159, 1234567, 5, 255, 12345.678, 'q') }}
{{ '{0.name} {0[name]} {x[0]}'.format({'name': 'n'}, x=[1]) }}
{% macro f(a, b=a, *c) %}{% endmacro %}
{% macro f(a, b=2) %}[{{ a }}{{ b }}{{ varargs }}{{ kwargs }}]{% endmacro %}{{ f(1) }}{{ f(1, 2, 3, k=4) }}
{% macro f(x) %}{{ x }}{% if x > 0 %}{{ f(x - 1) }}{% endif %}{% endmacro %}{{ f(3) }}
{% for x in xs %}{% macro m() %}<{{ x }}{{ y }}>{% endmacro %}{% set y = x * 2 %}{{ m() }}{% endfor %}
{% set ns = namespace(a=1) %}{% for i in xs %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}{{ ns }}{{ ns.b is defined }}
{% set ns = namespace(a=[]) %}{% set ns.b = namespace(c=1) %}{{ ns.b.c }}
{% set n = namespace(_x=1) %}
{% for k, v in d.items() recursive %}{{ k }}{{ loop.depth }}{% if v is mapping %}({{ loop(v.items()) }}){% endif %}{% endfor %}
{% for i in xs %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.cycle('a', 'b') }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}
{% for i in [1, 1, 2] %}{{ loop.changed(i) }}{% endfor %}{{ loop is defined }}
{% for i in xs if i > 1 %}{{ loop.index }}{{ i }}{% else %}none{% endfor %}{% for i in [] %}{% else %}{% set q = 1 %}empty{% endfor %}{{ q }}
{% for i in xs %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% set x %}a{{ 1 }}{% endset %}{{ x|length }}{% set y | upper %}abc{% endset %}{{ y }}{% set a, b = 1, [2] %}{{ a }}{{ b }}
{% with a = 1, b = a %}{{ a }}{{ b }}{% set c = 3 %}{% endwith %}{{ a }}{{ c }}
{% filter upper|replace('A', 'b') %}a{{ 'c' }}{% endfilter %}{% raw %}{{ x }}{% endraw %}
{% macro w(t) %}<{{ t }}>{{ caller(1) }}</{{ t }}>{% endmacro %}{% call(u, v=9) w('p') %}{{ u }}{{ v }}{{ d.b }}{% endcall %}
{{ d|tojson }}{{ d|tojson(indent=2) }}{{ d|tojson(separators=(',', ':'), sort_keys=true, ensure_ascii=true) }}{{ 'é<&>'|tojson }}{{ 1e100|tojson }}
{{ d|dictsort }}{{ d|dictsort(by='value') }}{{ rows|sort(attribute='age,name')|map(attribute='name')|list }}{{ rows|sum(attribute='age') }}
{{ rows|map(attribute='tags.0', default='-')|list }}{{ rows|selectattr('tags', 'defined')|list|length }}{{ rows|rejectattr('ok')|map(attribute='name')|join }}
{{ xs|batch(3, 0)|list }}{{ xs|unique|list }}{{ xs|min }}{{ xs|max }}{{ xs|first }}{{ xs|last }}{{ xs|reverse|list }}{{ 'abc'|reverse }}{{ []|first }}
{{ 2.5|round }}{{ 3.5|round }}{{ 2.675|round(2) }}{{ 5|round }}{{ 1234|round(-2) }}{{ 2.1|round(0, 'ceil') }}{{ 2.9|round(method='floor') }}
{{ '12'|int }}{{ ' 12 '|int }}{{ '1_000'|int }}{{ '0x1f'|int(base=16) }}{{ 'x'|int(7) }}{{ '3.9'|int }}{{ none|int }}{{ '1e3'|float }}{{ 'x'|float(1.5) }}{{ true|int }}
{{ unknown|int }}
{{ unknown.x }}
{{ unknown['x'] is defined }}
{{ unknown + 1 }}{{ unknown ~ 1 }}
{{ unknown == unknown2 }}{{ unknown is iterable }}{{ unknown|length }}{{ unknown|list }}{{ unknown|default('d') }}{{ none|default('d', true) }}{{ 1 in unknown }}
{{ xs[1:][0] }}{{ xs[-1] }}{{ xs[9] }}{{ xs[::-1] }}{{ 'héllo'[1] }}{{ 'héllo'[-3:] }}{{ (1, 2, 3)[:2] }}{{ xs['a'] }}{{ d['nope'] }}
{{ nothing[1:] }}
{{ 1 < 2 < 3 }}{{ 'a' < 'b' }}{{ [1, 2] < [1, 3] }}{{ 1 == 1.0 }}{{ 1 == true }}{{ '1' == 1 }}{{ not 1 is none }}{{ 2 is not none and 3 }}
{{ 1 < 'a' }}
{{ 'x' in 'xyz' }}{{ 1 in [1] }}{{ 'b' in d }}{{ 'q' not in d }}{{ none in [none] }}
{{ [] in d }}
{{ 'x'.__class__ }}{{ d.__class__ }}{{ d.append is defined }}{{ xs.append is defined }}
{{ 'x'.__class__() }}
{{ d.update({'a': 1}) }}
{{ 0x1F }}{{ 0b101 }}{{ 0o17 }}{{ 1_000 }}{{ 1.5e3 }}{{ 1E2 }}{{ 12.0 }}
{{ "a" "b" 'c' }}{{ 'tab\there' }}{{ "é\u00e9\x41" }}{{ '\'' }}{{ "\\n" }}
{{ xs is sameas xs }}{{ none is sameas none }}{{ 1 is sameas 1.0 }}{{ 3 is divisibleby 3 }}{{ 3 is odd }}{{ 2.0 is even }}{{ 'a' is lower }}{{ 'A' is upper }}{{ 'length' is filter }}
{{ 'a,b'.partition(',') }}{{ 'abc'.center(7, '*') }}{{ '7'.zfill(3) }}{{ 'a\tb'.expandtabs(4) }}{{ 'xax'.strip('x') }}{{ 'prefix-x'.removeprefix('prefix-') }}{{ 'ab'.ljust(4) }}|
{{ 'a\n\nb'|indent }}{{ 'a\nb\n'|indent(2, true) }}{{ 'a\n\nb'|indent(2, blank=true) }}{{ 'a'|indent('> ', true) }}
{{ 'hello big world here'|truncate(12) }}{{ 'hello big world here'|truncate(12, true, '~', 0) }}{{ 'x y'|wordcount }}{{ 'a b/ü'|urlencode }}
{{ dict(a=1, **d)|length }}{{ [*xs] }}
{{ range(*[1, 3])|list }}
{%- set j = joiner(', ') -%}{{ j() }}a{{ j() }}b{{ self.x }}
  {%- if true -%}  a  {%- endif %}  {%+ if true %} b {% endif +%}
 c
{# x #}
 {#- y -#} {{- 'z' -}}  q
{% generation %}a{% set in_ = 1 %}{% endgeneration %}{{ in_ }}
{{ raise_exception('no: ' ~ 1) }}
{{ strftime_now('%Y')|length }}{{ strftime_now('%%') }}
{% if x.y is defined %}{% endif %}
{{ s.title.x }}
{{ 1|nosuch }}
{% if no %}{{ 1|nosuch }}{% endif %}ok
{% if no %}{% for x in [] %}{{ 1|nosuch }}{% endfor %}{% endif %}
{{ 1|nosuch if no }}ok
{% for x in [] %}{{ x is nosuch }}{% endfor %}
{{ 1 is nosuch }}
{% nosuch %}
{% for %}{% endfor %}
{{ 1 +}}
{{ 'a' 1 }}
{{ (1, 2 }}
{% endif %}
{% if 1 %}
{% do x %}
{{ {'a': 1}.a.b.c }}
{{ range(100001)|length }}
{{ 1 // 0 }}
{{ 5.0 ** 2 }}{{ 2 ** -1 }}{{ 2 ** 10 }}{{ -2 ** 2 }}{{ (-8) ** (1/3) if false }}
""".strip("\n").split("\n")
WHITE_SPACE = [
    "a\n  {% if true %}\n  b\n  {% endif %}\nc\n",
    "a\n  {% if true +%}\n  b\n  {%- endif %}\n\nc\n\n",
    "  {{ 1 }}\n  {{- 2 -}}\n\n  {{ 3 }}\n",
    "\n\n{% set x = 1 %}\n\n{# c #}\n\n {# c #} x {# c -#} \n y",
    "{% for i in [1, 2] %}\n\t{{ i }}\n{% endfor %}\r\n{%- raw -%}  {{ }} {% endraw %}\n",
    "{% raw %}\n  a\n  {%- endraw %}\n{% raw -%} b {% endraw +%}\n",
    "x {% if true %} {% endif %} y\n   {%if true%}{%endif%}   \nz",
    "{{ 'a\n' }}\n{{- '' }}\n{#\n#}\n  {#\n#}  k",
]


def compare(requests):
    """The differences, shown whole; and how many cases were refused by both."""
    wrong, refused = [], 0
    for request, ours in zip(requests, templates.by_smidgen(requests)):
        theirs = templates.by_jinja(**request)
        refused += "error" in theirs
        if why := templates.differs(theirs, ours):
            wrong.append(f"{why}\n{request['template']}\n  jinja2:  {theirs}\n  smidgen: {ours}")
    assert not wrong, f"{len(wrong)} of {len(requests)} differ\n\n" + "\n\n".join(wrong[:5])
    return refused


def test_constructs():
    requests = [{"template": text, "messages": [], **template_grammar.VARIABLES} for text in [*SNIPPETS, *WHITE_SPACE]]
    assert compare(requests) < len(requests) / 2


CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.content is string %}{{ m.content|trim }}"
    "{% else %}{% for p in m.content or [] %}{{ p.text if p.type == 'text' else '<' ~ p.type ~ '>' }}{% endfor %}{% endif %}"
    "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{{ m.thinking }}{% endif %}"
    "{% for c in m.tool_calls or [] %}{{ c.function|tojson }}{{ c.function.arguments|tojson(indent=2) }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if tools %}{{ tools|tojson }}{% endif %}{{ documents }}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}{{ bos_token }}{{ enable_thinking }}"
)


@pytest.mark.parametrize("template", [CHATML, "{{ messages }}{{ tools }}", "{{ messages|tojson(indent=1) }}{% if messages[0].role != 'user' %}{{ raise_exception('user first') }}{% endif %}"])
def test_conversations(template):
    requests = [{"template": template, **talk} for talk in templates.CONVERSATIONS.values()]
    assert compare(requests) < len(requests)
    texts = {answer.get("text") for answer in templates.by_smidgen(requests)}
    assert len(texts) > len(requests) / 3, "the conversations do not differ enough to tell anything"


def test_generation_marks():
    template = "{% for m in messages %}{{ m.role }}:{% if m.role == 'assistant' %}{% generation %}{{ m.content }}é;{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}"
    talks = [{"messages": talk["messages"]} for name, talk in templates.CONVERSATIONS.items() if name in ("several turns", "Unicode", "empty")]
    ours = templates.by_smidgen([{"template": template, "spans": True, **talk} for talk in talks])
    for talk, mine in zip(talks, ours):
        theirs = templates.by_jinja(template, spans=True, **talk)
        assert mine["text"] == theirs["text"]
        in_bytes = [[len(theirs["text"][:at].encode()) for at in span] for span in theirs["spans"]]
        assert mine["spans"] == in_bytes and in_bytes


def test_random_templates():
    requests = [{"template": template_grammar.template(seed), "messages": [], **template_grammar.VARIABLES} for seed in range(400)]
    assert compare(requests) < len(requests) / 2
