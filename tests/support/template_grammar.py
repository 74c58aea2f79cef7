"""Small random templates by a grammar over what the template language has, for the comparison with jinja2.

Left out, because docs/formats.md names it as different: whole numbers beyond 64 bits, keys that are not text, printing
a function or a generator, and errors in items of a generator that nobody takes.
"""
import random

VARIABLES = {
    "i": 7,
    "j": -3,
    "zero": 0,
    "f": 2.5,
    "tiny": 1e-7,
    "yes": True,
    "no": False,
    "nothing": None,
    "s": "Hello World",
    "t": "  läßt\tgrüßen\n zwei ",
    "e": "",
    "html": "<a href='x'>&\"</a>",
    "xs": [3, 1, 2, 1],
    "words": ["b", "A", "c", "a"],
    "mixed": [1, "x", None, 2.5, [4], {"k": "v"}],
    "d": {"b": 1, "a": [1, 2], "C": "see", "n": {"deep": {"er": "x"}}},
    "rows": [{"name": "Ann", "age": 30, "ok": True}, {"name": "bob", "age": 25, "tags": ["x", "y"]}, {"name": "Cy", "age": 30, "ok": False}],
    "empty": [],
    "none_map": {},
}
TEXTS = ["'a'", "''", "\"x'y\"", "'Straße ﬁn ǆ'", "'a,b,,c'", "' pad '", "'{}'", "'\\n\\t'", "'ΑΣΣ'", "'%'", "'<b>'", "'o'", "'l'", "'42'", "'-1.5e2'"]
UNARY_METHODS = ["strip", "lstrip", "rstrip", "upper", "lower", "title", "capitalize", "swapcase", "split", "splitlines", "isdigit", "isalpha", "isspace", "isupper", "islower", "isalnum", "istitle"]
TESTS = ["defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "true", "false", "mapping", "sequence", "iterable", "lower", "upper", "odd", "even", "callable", "escaped"]


class Grammar:
    def __init__(self, seed):
        self.r = random.Random(seed)
        self.names = []

    def one(self, *choices):
        return self.r.choice(choices)()

    # ---- expressions; n is how much deeper they may go
    def number(self, n):
        r = self.r
        leaves = [lambda: r.choice(["i", "j", "zero", "f", "yes"]), lambda: str(r.randint(0, 12)), lambda: r.choice(["0.5", "1e3", "3.0", "1_000", "0x1F"])]
        if n <= 0:
            return self.one(*leaves)
        return self.one(
            *leaves,
            lambda: f"({self.number(n - 1)} {r.choice(['+', '-', '*', '/', '//', '%'])} {self.number(n - 1)})",
            lambda: f"(-{self.number(n - 1)})",
            lambda: f"({r.randint(0, 4)} ** {r.randint(0, 5)})",
            lambda: f"{self.atom(n - 1)}|length",
            lambda: f"{self.number(n - 1)}|abs",
            lambda: f"{self.number(n - 1)}|round{r.choice(['', '(1)', '(2)', '(0, ' + repr('floor') + ')', '(1, ' + repr('ceil') + ')'])}",
            lambda: f"{self.any(n - 1)}|int{r.choice(['', '(5)'])}",
            lambda: f"{self.any(n - 1)}|float",
            lambda: f"{self.text(n - 1)}.{r.choice(['find', 'count', 'rfind'])}({self.text(0)})",
            lambda: f"{self.list(n - 1)}|{r.choice(['sum', 'min', 'max', 'first', 'last', 'count'])}",
        )

    def text(self, n):
        r = self.r
        leaves = [lambda: r.choice(TEXTS), lambda: r.choice(["s", "t", "e", "html"])]
        if n <= 0:
            return self.one(*leaves)
        return self.one(
            *leaves,
            lambda: f"({self.text(n - 1)} + {self.text(n - 1)})",
            lambda: f"({self.any(n - 1)} ~ {self.any(n - 1)})",
            lambda: f"({self.text(n - 1)} * {r.randint(-1, 3)})",
            lambda: f"{self.text(n - 1)}.{r.choice(UNARY_METHODS)}()",
            lambda: f"{self.text(n - 1)}|{r.choice(['upper', 'lower', 'title', 'capitalize', 'trim', 'string', 'reverse', 'e', 'safe', 'wordcount', 'urlencode'])}",
            lambda: f"{self.text(n - 1)}.replace({self.text(0)}, {self.text(0)}{r.choice(['', ', 1', ', 2'])})",
            lambda: f"{self.text(n - 1)}|replace({self.text(0)}, {self.text(0)})",
            lambda: f"{self.text(n - 1)}.{r.choice(['strip', 'lstrip', 'rstrip'])}({self.text(0)})",
            lambda: f"{self.text(n - 1)}{self.subscript()}",
            lambda: f"{self.any(n - 1)}|tojson{self.json_options()}",
            lambda: f"{self.list(n - 1)}|join{r.choice(['', '(' + repr(', ') + ')', '(d=' + repr('-') + ')'])}",
            lambda: f"{self.text(0)}.join({self.list(n - 1)})",
            lambda: f"{self.text(n - 1)}|indent{r.choice(['', '(2)', '(1, true)', '(first=true)', '(width=3, blank=true)', '(' + repr('> ') + ')'])}",
            lambda: f"{self.text(n - 1)}|default({self.text(0)}{r.choice(['', ', true'])})",
            lambda: f"{self.text(n - 1)}.{r.choice(['center', 'ljust', 'rjust', 'zfill'])}({r.randint(0, 16)})",
            lambda: f"{self.text(n - 1)}|{r.choice(['center', 'truncate'])}({r.randint(5, 20)})",
            lambda: f"{self.text(n - 1)}.{r.choice(['removeprefix', 'removesuffix'])}({self.text(0)})",
            lambda: self.format(n),
            lambda: f"{self.any(n - 1)}|string",
        )

    def format(self, n):
        r = self.r
        form = r.choice(["{}", "{:>8}", "{:*^9}", "{0!r:<12}", "{:5}", "{!s}"])
        number = r.choice(["{:05d}", "{:+.2f}", "{:,}", "{:x}", "{:#b}", "{:.3e}", "{:g}", "{:%}", "{:_}"])
        return self.one(
            lambda: f"'[{form}]'.format({self.any(n - 1)})",
            lambda: f"'[{number}]'.format({self.number(n - 1)})",
            lambda: f"'{{a}}-{{b}}'.format(b={self.any(n - 1)}, a={self.text(0)})",
            lambda: f"'{{0[name]}} {{0[age]}}'.format(rows[{r.randint(0, 2)}])",
            lambda: f"('{r.choice(['%s', '%r', '%10s', '%-6s|', '%.2s'])}' % {self.text(n - 1)})",
            lambda: f"('{r.choice(['%d', '%5d', '%05d', '%+d', '%x', '%.2f', '%e', '%g', '%i%%'])}' % {self.number(n - 1)})",
            lambda: f"('%s=%s' % ({self.any(n - 1)}, {self.any(n - 1)}))",
            lambda: f"'%s %s'|format({self.any(n - 1)}, {self.text(0)})",
        )

    def json_options(self):
        return self.r.choice(["", "", "(indent=2)", "(indent=none)", "(ensure_ascii=true)", "(sort_keys=true)", "(separators=(',', ':'))", "(indent=4, sort_keys=true)", "(false, 1)"])

    def subscript(self):
        r = self.r
        bound = lambda: r.choice(["", str(r.randint(-6, 6))])  # noqa: E731
        return r.choice([f"[{r.randint(-4, 4)}]", f"[{bound()}:{bound()}]", f"[{bound()}:{bound()}:{r.choice(['', '1', '2', '-1', '-2'])}]"])

    def list(self, n):
        r = self.r
        leaves = [lambda: r.choice(["xs", "words", "mixed", "rows", "empty"]), lambda: f"[{', '.join(self.any(0) for _ in range(r.randint(0, 3)))}]"]
        if n <= 0:
            return self.one(*leaves)
        return self.one(
            *leaves,
            lambda: f"({self.list(n - 1)} + {self.list(n - 1)})",
            lambda: f"{self.list(n - 1)}[{r.choice(['1:', ':-1', '::-1', '::2', '0:2'])}]",
            lambda: f"{self.list(n - 1)}|sort{r.choice(['', '(reverse=true)', '(case_sensitive=true)'])}",
            lambda: f"rows|sort(attribute='{r.choice(['name', 'age', 'age,name'])}')",
            lambda: f"rows|map(attribute='{r.choice(['name', 'age', 'tags', 'tags.0'])}'{r.choice(['', ', default=0'])})|list",
            lambda: f"rows|{r.choice(['selectattr', 'rejectattr'])}({r.choice([repr('ok'), repr('tags') + ', ' + repr('defined'), repr('age') + ', ' + repr('gt') + ', 26', repr('name') + ', ' + repr('equalto') + ', ' + repr('bob'), repr('name') + ', ' + repr('in') + ', words'])})|list",
            lambda: f"{self.list(n - 1)}|{r.choice(['select', 'reject'])}({r.choice(['', repr('string'), repr('number'), repr('defined')])})|list",
            lambda: f"{self.list(n - 1)}|map('{r.choice(['string', 'upper', 'length', 'tojson', 'default'])}')|list",
            lambda: f"{self.list(n - 1)}|{r.choice(['unique', 'reverse'])}|list",
            lambda: f"{self.list(n - 1)}|batch({r.randint(1, 3)}{r.choice(['', ', ' + repr('z')])})|list",
            lambda: f"range({r.randint(-2, 6)}{r.choice(['', ', 5', ', 9, 3', ', -4, -2'])})|list",
            lambda: f"{self.map(n - 1)}|{r.choice(['items', 'dictsort', 'list'])}|list",
            lambda: f"{self.map(n - 1)}.{r.choice(['items', 'keys', 'values'])}()|list",
            lambda: f"{self.text(n - 1)}.{r.choice(['split', 'rsplit'])}({r.choice(['', self.text(0), repr(',') + ', 1', 'none, 1'])})",
            lambda: f"{self.text(n - 1)}|list",
            lambda: f"{self.text(n - 1)}.{r.choice(['partition', 'rpartition'])}({self.text(0)})",
        )

    def map(self, n):
        r = self.r
        leaves = [lambda: r.choice(["d", "none_map", "rows[0]", "d.n"])]
        if n <= 0:
            return self.one(*leaves)
        return self.one(*leaves, lambda: f"{{'x': {self.any(n - 1)}, {self.text(0)}: {self.any(0)}}}", lambda: f"dict(a={self.any(n - 1)}, b=1)", lambda: f"dict(d, b={self.any(0)})")

    def truth(self, n):
        r = self.r
        if n <= 0:
            return r.choice(["yes", "no", "true", "false", "nothing", "xs", "e", "unknown"])
        return self.one(
            lambda: f"({self.number(n - 1)} {r.choice(['==', '!=', '<', '<=', '>', '>='])} {self.number(n - 1)})",
            lambda: f"({self.text(n - 1)} {r.choice(['==', '!=', '<', 'in', 'not in'])} {self.text(n - 1)})",
            lambda: f"({self.any(n - 1)} {r.choice(['in', 'not in', '==', '!='])} {self.list(n - 1)})",
            lambda: f"({self.truth(n - 1)} {r.choice(['and', 'or'])} {self.truth(n - 1)})",
            lambda: f"(not {self.truth(n - 1)})",
            lambda: f"({self.any(n - 1)} is {r.choice(['', 'not '])}{r.choice(TESTS)})",
            lambda: f"({self.any(n - 1)} is {r.choice(['eq', 'ne', 'sameas', 'in'])}({self.list(0)}))",
            lambda: f"({self.number(0)} < {self.number(0)} <= {self.number(0)})",
            lambda: f"{self.text(n - 1)}.{r.choice(['startswith', 'endswith'])}({r.choice([self.text(0), '(' + self.text(0) + ', ' + self.text(0) + ')'])})",
        )

    def atom(self, n):
        return self.one(lambda: self.text(n), lambda: self.list(n), lambda: self.map(n))

    def any(self, n):
        r = self.r
        if n <= 0:
            return r.choice(["i", "f", "s", "xs", "d", "nothing", "yes", "unknown", "3", "'q'", "tiny", *self.names])
        return self.one(
            lambda: self.number(n),
            lambda: self.text(n),
            lambda: self.list(n),
            lambda: self.map(n),
            lambda: self.truth(n),
            lambda: f"({self.any(n - 1)} if {self.truth(n - 1)} else {self.any(n - 1)})",
            lambda: f"({self.any(n - 1)} if {self.truth(n - 1)})",
            lambda: f"({self.any(n - 1)}, {self.any(n - 1)})",
            lambda: f"{self.map(n - 1)}.{r.choice(['a', 'b', 'n.deep', 'zz', 'get(' + repr('b') + ')', 'get(' + repr('q') + ', 4)', 'name'])}",
            lambda: f"{self.map(n - 1)}[{self.text(0)}]",
            lambda: f"{self.list(n - 1)}{self.subscript()}",
        )

    # ---- statements
    def tag(self, inside):
        r = self.r
        return "{%" + r.choice(["", "", "-", "+"]) + f" {inside} " + r.choice(["", "", "-", "+"]) + "%}"

    def space(self):
        return self.r.choice(["", "", "\n", " ", "\n  ", " x\n", "\t", "\n\n"])

    def output(self, n):
        r = self.r
        return "{{" + r.choice(["", "", "-"]) + f" {self.any(n)} " + r.choice(["", "", "-"]) + "}}"

    def statement(self, n):
        r = self.r
        if n <= 0:
            return self.space() + self.output(2)
        return self.space() + self.one(
            lambda: self.output(3),
            lambda: self.output(2) + self.space() + "{#- note -#}" + self.space(),
            lambda: self.tag(f"if {self.truth(2)}") + self.body(n - 1) + (self.tag(f"elif {self.truth(1)}") + self.body(n - 1) if r.random() < 0.3 else "") + (self.tag("else") + self.body(n - 1) if r.random() < 0.5 else "") + self.tag("endif"),
            lambda: self.loop(n),
            lambda: self.tag(f"set v = {self.any(2)}") + "{{ v }}",
            lambda: self.tag("set v, w = " + f"{self.any(1)}, {self.any(1)}") + "{{ w }}{{ v }}",
            lambda: self.tag(f"set v{r.choice(['', ' | upper', ' | trim | length'])}") + self.body(n - 1) + self.tag("endset") + "{{ v }}",
            lambda: self.tag("set ns = namespace(x=0, y='')") + self.tag(f"for k in {self.list(1)}") + self.tag("set ns.x = ns.x + 1") + self.tag("set ns.y = ns.y ~ k") + self.tag("endfor") + "{{ ns.x }}{{ ns.y }}{{ ns.z }}",
            lambda: self.tag("macro m(a, b=2, c='z')") + self.body(n - 1, ["a", "b"]) + "{{ c }}" + self.tag("endmacro") + "{{ m(" + r.choice(["1", "1, 2", "b=3", "a='x', c=none", "", "1, 2, 3, 4", "q=1"]) + ") }}",
            lambda: self.tag("macro g(x)") + "<{{ caller(x) }}>" + self.tag("endmacro") + self.tag(f"call(y) g({self.any(1)})") + self.body(n - 1, ["y"]) + self.tag("endcall"),
            lambda: self.tag(f"filter {r.choice(['upper', 'trim', 'indent(2)', 'replace(' + repr('a') + ', ' + repr('b') + ')'])}") + self.body(n - 1) + self.tag("endfilter"),
            lambda: self.tag(f"with v = {self.any(1)}, w = v") + "{{ v }}{{ w }}" + self.tag("endwith") + "{{ v }}",
            lambda: self.tag("raw") + r.choice(["{{ x }}", " {% if %} \n", "\n  a\n"]) + self.tag("endraw"),
            lambda: self.tag("generation") + self.body(n - 1) + self.tag("endgeneration"),
        )

    def loop(self, n):
        r = self.r
        kind = r.random()
        if kind < 0.2:
            return self.tag(f"for k, u in {self.map(1)}.items()") + "{{ k }}={{ u }};" + self.tag("endfor")
        if kind < 0.3:
            return self.tag("for k in [1, [2, [3, 4]], 5] recursive") + "{{ loop.depth }}{{ loop(k) if k is not number else k }}" + self.tag("endfor")
        condition = f" if {r.choice(['k', 'k is string', 'k != 1', 'loop'])}" if r.random() < 0.2 else ""
        inside = self.body(n - 1, ["k", "loop.index", "loop.last", "loop.previtem", "loop.revindex0", "loop.cycle('p', 'q')"])
        if r.random() < 0.3:
            inside += self.tag(f"if loop.index > {r.randint(0, 3)}") + self.tag(r.choice(["break", "continue"])) + self.tag("endif") + "."
        if r.random() < 0.3:
            inside += self.tag("set v = k") + "{{ v }}" + "{{ loop.changed(v) }}"
        other = self.tag("else") + self.body(n - 1) if r.random() < 0.3 else ""
        return self.tag(f"for k in {self.list(1)}{condition}") + inside + other + self.tag("endfor") + self.r.choice(["", "{{ v }}{{ k }}"])

    def body(self, n, names=()):
        before = list(self.names)
        self.names += names
        out = "".join(self.statement(n) for _ in range(self.r.randint(1, 2))) + self.space()
        self.names = before
        return out


def template(seed):
    grammar = Grammar(seed)
    return "".join(grammar.statement(2) for _ in range(grammar.r.randint(1, 3)))
