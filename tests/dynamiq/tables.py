"""Writes tables/*.json: what the reference makes of selectors, conditions, scalars and values in templates.

Run with the reference's interpreter: python tables.py
"""
import json, logging, os, sys, tempfile
os.environ.update(LITELLM_LOG="ERROR", LITELLM_LOCAL_MODEL_COST_MAP="True"); logging.disable(logging.CRITICAL)
import warnings; warnings.simplefilter("ignore")
from dynamiq.nodes.node import Node, Transformer
from dynamiq.nodes.operators.operators import Choice
from dynamiq.nodes.types import ChoiceCondition
from functools import cache
from jinja2 import Template
from omegaconf import OmegaConf
import dynamiq.utils.jsonpath as jsonpath
jsonpath.parse = cache(jsonpath.parse)  # building the parser anew for each path takes most of the time
here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tables")

def tried(work):
    try: return {"gives": work()}
    except Exception as error: return {"raises": type(error).__name__}

def table(name, rows):
    with open(os.path.join(here, name + ".json"), "w") as file:
        file.write("[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n")

data = {"a": {"b": {"c": 1, "l": [1, 2, 3]}, "0": "zero", "x-y": "dash", "a b": "space"}, "l": [{"n": 1}, {"n": 2}, {"m": [4, 5]}],
        "s": "text", "n": None, "f": 1.5, "t": True, "z": 0, "e": "", "el": [], "eo": {}, "where": "w", "k": {"n": 7, "q": {"n": 8}},
        "nested": [[1, 2], [3]], "answer": "yes", "ü": "umlaut", "1": "one", "$": "dollar", "it's": 1, "@": "at", "@x": "atx"}
selectors = """$ @ $.a $.a.b $.a.b.c $.nope $.a.nope.c a a.b a.b.c nope nope.x answer s plain-words x-y $.a.x-y $.a['a b'] $.a["x-y"] $['a'] $["l"][0]
$.l $.l[0] $.l[0].n $.l[-1] $.l[-9] $.l[9] $.l[*] $.l[*].n $.l[*].m $.l[*].m[*] $.l[0:2] $.l[1:] $.l[:1] $.l[::2] $.l[::-1] $.l[-2:] $.l[0,2] $.l[2:0:-1] $.l[0:0]
$.* * $.a.* $.l.* $..n $..m $..* $.k..n $..n[0] $..l[0] $..l[0].n $.. $... $. .a $.a. $.1 $.a.0 $.a['0'] $.a[0] $.a.b.l[1] $.a.b.l $.s[0] $.s[-1] $.s[9] $.s[*] $.s.x $.f[0] $.f[*] $.t[*]
$.z[*] $.z[0] $.n[0] $.n.x $.n $.e $.el $.el[*] $.el[0] $.eo $.eo.x $.eo.* $.nested[*][*] $.nested[*][0] $.nested[0][*] $.nested[0] $.a.b[*] $.a[*] $.a[0:1] $.a[1:]
$.a,b a,s $.a|s $.s|f (a) (a.b).c $.(a.b) $.a.(b|s) $.a.b.`parent` $.a.`this`.b `this` `len` $.l.`len` $.a.$.s $.l[?(@.n)] $.l[?(@.n==1)] $.l[0 $.l] $.a[ $.a[b] $.a[b,x] $['a','s'] $[s,f]
where $.where $.a where $.k where n $.l[*] where n $.a~ $.a&b a&s a:b a:1 :: , [0] [*] [a] ['a'] [0].n ? + # #tag {{x}} it's ü $.ü hello\\ world hello,world hello,\\ it's what\\ is\\ this? what? 100 -5 3.14 $5 $x $a @ @x @channel @.a @.content @@
"" '' 'a' "a" 'nope' "a'b" 'x $.a['b'] $.'a' $."a" $.a."b" $.a.'x-y' -a _ a_b a-b http://x.y/z a@b.c 2024-01-01 true null $.t $.f $.e||s $.e||$.s $.n||$.s $.nope||$.n||$.s $.nope||no\\ result $.nope||s
$.nope||$.n $.n||s a||b $.e||x $.z||x $.el||x $.l[*].n||x $.l[*].zz||x $.[||lit $.l[?||lit @channel||$.s @.s||$.s ||  |||| $.s|| ||$.s $.nope|| $.n||$.s.x||last $$ $.a$ $.a.b.c.d.e $.[0] $.l.[0] $.l.[0].n $.a.[b] $..[0] $..['n']
$.l[00] $.l[1:2:0] $.l[99999999999999999999] $.l[*][n] \\ $.a\\  \\ \\ $.a $.a\\ .\\ b $.a.b\\tc a\\ where\\ b""".split()
rows = []
for text in dict.fromkeys(selectors + [""]):
    text = text.replace("\\t", "\t").replace("\\ ", " ") if "\\" in text else text
    def select(): return Node.transform(data, Transformer(selector={"v": text}))["v"]
    rows.append({"text": text, **tried(select)})
for text in ["$", "$.a.b", "$.l[*].n", "$.nope", "a", "nope", "it's", "a b", "$.l[0]", "$.a[0]"]:
    rows.append({"path": text, **tried(lambda: Node.transform(data, Transformer(path=text)))})
for value in [[{"n": 1}, {"n": 2}], [], "text", 5, None]:
    for text in ["$[0].n", "$[*].n", "n", "$"]:
        rows.append({"data": value, "text": text, **tried(lambda: Node.transform(value, Transformer(selector={"v": text}))["v"])})
table("selectors", [{"all": data}] + rows)

values = [None, True, 0, 1, 2.0, 1.5, "", "1", "abc", "True", [1], [1, 2], {"a": 1}]
operators = ["boolean-equals", "numeric-equals", "numeric-greater-than", "numeric-greater-than-or-equals", "numeric-less-than", "numeric-less-than-or-equals",
             "string-equals", "string-greater-than", "string-less-than-or-equals", "string-starts-with", "string-ends-with", "string-contains", "string-regexp"]
rows = []
def judge(condition, data): return tried(lambda: Choice.evaluate(ChoiceCondition(**condition), data))
for operator in operators:
    for value in values:
        for variable in values:
            rows.append({"condition": {"variable": "$.v", "operator": operator, "value": value}, "data": {"v": variable}})
for text, pattern in [("abc", "^a.c$"), ("abc\n", "c$"), ("abc\n", "c\\Z"), ("a1", "\\d"), ("foobar", "foo(?=bar)"), ("aa", "(a)\\1"), ("x", "["), ("x", "(?P<n>x)"), ("a$b", "a\\$b"), ("a$", "[$]"), (None, "one"), (True, "^T")]:
    rows.append({"condition": {"variable": "$.v", "operator": "string-regexp", "value": pattern}, "data": {"v": text}})
for operator in [o + "-path" for o in operators if not o.startswith("string-s") and not o.endswith(("contains", "ends-with", "regexp"))]:
    for value in ["$.w", "w", "$.nope", "$.l[*]", "$.l[0]", "$..w", "$.l[?", None, 5, "@.w", "$"]:
        rows.append({"condition": {"variable": "$.v", "operator": operator, "value": value}, "data": {"v": 2, "w": 2, "l": [1, 3]}})
leaf = lambda value, **more: {"variable": "$.v", "operator": "numeric-equals", "value": value, **more}
for is_not in [False, True]:
    for operator in ["and", "or"]:
        for operands in [[leaf(1)], [leaf(2)], [leaf(1), leaf(2)], [leaf(1), leaf(1)], [leaf(2, is_not=True)], []]:
            rows.append({"condition": {"operator": operator, "operands": operands, "is_not": is_not}, "data": {"v": 1}})
            rows.append({"condition": {"variable": "$.in", "operator": operator, "operands": operands, "is_not": is_not}, "data": {"in": {"v": 1}}})
    rows.append({"condition": leaf(1, is_not=is_not), "data": {"v": 1}})
rows.append({"condition": {"operator": "boolean-equals", "value": {"v": 1}}, "data": {"v": 1}})
rows.append({"condition": {"variable": "", "operator": "boolean-equals", "value": {"v": 1}}, "data": {"v": 1}})
rows.append({"condition": {"variable": "it's", "operator": "boolean-equals", "value": 1}, "data": {"v": 1}})
rows.append({"condition": {"variable": "a b", "operator": "boolean-equals", "value": 1}, "data": {"v": 1}})
rows.append({"condition": {"variable": "v", "operator": "boolean-equals", "value": 1}, "data": {"v": 1}})
table("conditions", [{**row, **judge(row["condition"], row["data"])} for row in rows])

scalars = """yes no on off Yes NO On true False TRUE y n Y ~ null Null NULL None none 017 0o17 0x1F 0x1g 0b101 0b12 1_000 1__0 _1 12:30 1:2:3 12:60 190:20:30 1:30.5 -12:30 +1 -1 --1 +-1 1. .5 1.5 1e3 1E3 1e+3 1.5e3 1.5e-3 1.5e
1_0.5_0 .5e+1 .5e1 0 00 0_ 08 09 019 0.1 -0 1.2.3 2024-01-01 2024-01-01T10:00:00Z 10:00:00 1,000 $.a a:b - a#b .inf_ e5 1e 0x -0x1 +0b1 -017 1e400x ++ +. . .. ... 12e03 -.5 +.5 1_e3 10:5 007 0_7 9:05""".split()
def load(text):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False) as file: file.write(text)
    try: return OmegaConf.to_container(OmegaConf.load(file.name), resolve=True)
    finally: os.unlink(file.name)
documents = ["a: 1\nb: *x", "base: &b {x: 1, y: 2}\nown: {<<: *b, y: 3}", "a: &a {x: 1}\nb: &b {x: 2, z: 3}\nc: {<<: [*a, *b], w: 4}", "a: 1\na: 2", "l: &l [1, 2]\nm: *l",
             "t: |\n  a\n  b\n", "t: >\n  a\n  b\n", "t: |-\n  a\n", "t: !!str 5", "t: !!int '5'", "t: !!float 1", "t: '017'", 't: "no"', "t:", "a: b: c", "- 1\n- 2", "a: [1, 2", "t: =", "{a: 1, b: {c: [x, 'y']}}",
             "a: &x 5\nb: *x", "base: &b {x: 1}\nown:\n  y: 0\n  <<: *b\n  x: 2", "t: a\n  b", 't: "a\\nb"', "t: 'it''s'", "---\na: 1", "a: 1\n---\nb: 2", "t: @x", "t: `x", "t: %x", "? a\n: 1"]
table("yaml", [{"text": f"t: {s}", **tried(lambda: load(f"t: {s}"))} for s in dict.fromkeys(scalars)] + [{"text": d, **tried(lambda: load(d))} for d in documents])

variables = {"n": None, "f": 2.0, "t": True, "i": 7, "l": [1, "a", None], "d": {"k": "v", "n": {"m": 1}}, "s": "some text", "h": "<i>&", "big": 1e16, "small": 1.5e-7, "e": "", "items": [{"p": 2}, {"p": 1}]}
templates = ["{{ n }}", "{{ f }}", "{{ t }}", "{{ i }}", "{{ l }}", "{{ d }}", "{{ big }} {{ small }}", "{{ h }}", "{{ d.missing }}", "{{ d.missing.more }}", "{{ d['k'] }}", "{{ l[0] }}", "{{ l[9] }}", "{{ missing }}", "{{ missing.x }}",
             "{% for x in l %}{{ loop.index }}{{ x }};{% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{{ l|join(', ') }}", "{{ l|length }}", "{{ s|upper }}", "{{ s|title }}", "{{ s|replace('e', 'E') }}", "{{ s|truncate(6) }}", "{{ s|wordcount }}",
             "{{ s.upper() }}", "{{ s.split() }}", "{{ s[:4] }}", "{{ s[::-1] }}", "{{ d|tojson }}", "{{ l|tojson }}", "{{ h|tojson }}", "{{ h|e }}", "{{ d|tojson(indent=2) }}", "{{ i / 2 }}", "{{ i // 2 }}", "{{ i % 2 }}", "{{ i ** 2 }}", "{{ 'a' ~ n ~ t ~ f }}", "{{ e or 'x' }}", "{{ n is none }}", "{{ missing is defined }}",
             "{{ missing|default('x') }}", "{{ l|first }} {{ l|last }}", "{{ items|map(attribute='p')|list }}", "{{ items|sort(attribute='p')|map(attribute='p')|join('-') }}", "{{ items|selectattr('p', 'equalto', 1)|list|length }}", "{{ items|sum(attribute='p') }}", "{{ s|default('x') }}", "{% set x = 5 %}{{ x }}", "{% if not d.missing %}no{% endif %}",
             "{{ '%s-%d'|format('a', 3) }}", "{{ s|trim }}", "{{ s|capitalize }}", "{{ f|round(1) }}", "{{ 3.14159|round(2) }}", "{{ i|float }}", "{{ '3'|int + 1 }}", "{{ range(3)|list }}", "{{ [1,2,3]|max }}", "{{ 'x' in s }}", "{{ 'text' in s }}", "{{ {'b': 1, 'a': 2}|dictsort }}", "{{ l|reverse|list }}", "{{ [3,1,2]|sort }}", "{{ s|list|unique|list|length }}",
             "line\n", "a\n\n", "{{ d.get('k') }}", "{{ d.get('zz', 'dflt') }}", "{{ s|wordwrap(4) }}", "{{ 'a,b'.split(',') }}", "{{ s.startswith('some') }}", "{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(1) }}", "{# c #}x", "{%- if t -%} y {%- endif -%}", "{% raw %}{{ x }}{% endraw %}", "{{ l|batch(2)|list }}", "{{ s|indent(2) }}", "{{ i|string }}", "{{ 1 if t else 2 }}", "{{ (1, 2) }}", "{{ [n, t] }}", "{{ s is string }}", "{{ l is iterable }}", "{{ s|center(13) }}x", "{{ 1000000|filesizeformat }}", "{{ h|striptags }}", "{{ s|urlencode }}", "{{ l|pprint }}", "{{ d|items|list }}", "{{ items|groupby('p')|length }}", "{{ [1,[2,3]]|string }}", "{{ 'a\\nb' }}", "{{ ['a\\nb'] }}", "{{ 5|abs }}", "{{ none }}", "{{ true }}", "{{ True }}", "{{ None }}"]
table("templates", [{"all": variables}] + [{"text": text, **tried(lambda: Template(text).render(**variables))} for text in templates])
