"""Writes tables/*.json: the reference's results for selectors, conditions, scalars, values in templates, expressions, rules, and the
cells of decision tables.

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
jsonpath.parse = cache(jsonpath.parse)  # rebuilding the parser for each path takes most of the time
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

variables = {"n": None, "f": 2.0, "t": True, "i": 7, "l": [1, "a", None], "d": {"k": "v", "n": {"m": 1}}, "s": "some text", "h": "<i>&", "big": 1e16, "small": 1.5e-7, "e": "", "items": [{"p": 2}, {"p": 1}], "u": "ünï"}
templates = ["{{ n }}", "{{ f }}", "{{ t }}", "{{ i }}", "{{ l }}", "{{ d }}", "{{ big }} {{ small }}", "{{ h }}", "{{ d.missing }}", "{{ d.missing.more }}", "{{ d['k'] }}", "{{ l[0] }}", "{{ l[9] }}", "{{ missing }}", "{{ missing.x }}",
             "{% for x in l %}{{ loop.index }}{{ x }};{% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{{ l|join(', ') }}", "{{ l|length }}", "{{ s|upper }}", "{{ s|title }}", "{{ s|replace('e', 'E') }}", "{{ s|truncate(6) }}", "{{ s|wordcount }}",
             "{{ s.upper() }}", "{{ s.split() }}", "{{ s[:4] }}", "{{ s[::-1] }}", "{{ d|tojson }}", "{{ l|tojson }}", "{{ h|tojson }}", "{{ h|e }}", "{{ d|tojson(indent=2) }}", "{{ i / 2 }}", "{{ i // 2 }}", "{{ i % 2 }}", "{{ i ** 2 }}", "{{ 'a' ~ n ~ t ~ f }}", "{{ e or 'x' }}", "{{ n is none }}", "{{ missing is defined }}",
             "{{ missing|default('x') }}", "{{ l|first }} {{ l|last }}", "{{ items|map(attribute='p')|list }}", "{{ items|sort(attribute='p')|map(attribute='p')|join('-') }}", "{{ items|selectattr('p', 'equalto', 1)|list|length }}", "{{ items|sum(attribute='p') }}", "{{ s|default('x') }}", "{% set x = 5 %}{{ x }}", "{% if not d.missing %}no{% endif %}",
             "{{ '%s-%d'|format('a', 3) }}", "{{ s|trim }}", "{{ s|capitalize }}", "{{ f|round(1) }}", "{{ 3.14159|round(2) }}", "{{ i|float }}", "{{ '3'|int + 1 }}", "{{ range(3)|list }}", "{{ [1,2,3]|max }}", "{{ 'x' in s }}", "{{ 'text' in s }}", "{{ {'b': 1, 'a': 2}|dictsort }}", "{{ l|reverse|list }}", "{{ [3,1,2]|sort }}", "{{ s|list|unique|list|length }}",
             "line\n", "a\n\n", "{{ d.get('k') }}", "{{ d.get('zz', 'dflt') }}", "{{ s|wordwrap(4) }}", "{{ 'a,b'.split(',') }}", "{{ s.startswith('some') }}", "{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(1) }}", "{# c #}x", "{%- if t -%} y {%- endif -%}", "{% raw %}{{ x }}{% endraw %}", "{{ l|batch(2)|list }}", "{{ s|indent(2) }}", "{{ i|string }}", "{{ 1 if t else 2 }}", "{{ (1, 2) }}", "{{ [n, t] }}", "{{ s is string }}", "{{ l is iterable }}", "{{ s|center(13) }}x", "{{ 1000000|filesizeformat }}", "{{ h|striptags }}", "{{ s|urlencode }}", "{{ l|pprint }}", "{{ d|items|list }}", "{{ items|groupby('p')|length }}", "{{ [1,[2,3]]|string }}", "{{ 'a\\nb' }}", "{{ ['a\\nb'] }}", "{{ 5|abs }}", "{{ none }}", "{{ true }}", "{{ True }}", "{{ None }}",
             "{{ u|tojson }}", "{{ {'b': 1, 'a': [1, {'c': none}]}|tojson }}", "{{ {'b': 1, 'a': [1, {'c': '<&>'}]}|tojson(indent=2) }}", "{{ {}|tojson }}{{ []|tojson(2) }}", "{{ 1.0|tojson }}", "{{ \"it's\"|tojson }}",
             "{{ items|map(attribute='p')|sum }}", "{{ items|rejectattr('p', 'gt', 1)|list }}", "{{ l|select|list }}", "{{ l|reject('none')|list }}", "{{ items|groupby('p')|map(attribute='grouper')|list }}", "{{ [1, 2, 3, 4, 5]|batch(2, 0)|list }}", "{{ [1, 2, 3, 4, 5]|slice(2)|list }}",
             "{{ s|title|replace(' ', '-') }}", "{{ 'a b c'|truncate(3, true) }}", "{{ s|truncate(6, true, '!', 0) }}", "{{ 'hello world foo'|wordwrap(7, wrapstring='|') }}", "{{ f|int }} {{ '7.9'|float|int }} {{ 'x'|int(-1) }}", "{{ 7.5|round|int }} {{ 42.55|round(1, 'floor') }} {{ 42.51|round(0, 'ceil') }}",
             "{{ '%05.1f|%x|%s'|format(3.14159, 255, none) }}", "{{ d.items()|list|length }}", "{{ d|length }} {{ d.keys()|list }}", "{{ l + [2] }}", "{{ 'ab' * 3 }}", "{{ 'a' in d }} {{ 'k' in d }}", "{{ l[-1] is none }} {{ l[1:]|length }}", "{{ s is lower }} {{ 'A' is upper }} {{ 4 is divisibleby(2) }}", "{{ [3, 1]|sort|join }} {{ ['b', 'A']|sort|join }} {{ ['b', 'A']|sort(case_sensitive=true)|join }}",
             "{{ ['b', 'a', 'b']|unique|join }}", "{{ [1, 2, 3]|first }}{{ 'xyz'|last }}", "{{ 'x'|default('y') }}{{ e|default('y', true) }}", "{{ {'a': 1, 'b': 2}|dictsort(reverse=true)|map('first')|join }}", "{{ 'a-b_c'|replace('-', '+')|upper }}", "{{ '  x '|trim }}|{{ 'xxax'|trim('x') }}",
             "{% for g in items|groupby('p') %}{{ g.grouper }}:{{ g.list|length }};{% endfor %}", "{% for x in l if x %}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ x }};{% else %}none{% endfor %}", "{% for x in [] %}x{% else %}empty{% endfor %}", "{% set ns = namespace(n=0) %}{% for x in [1, 2, 3] %}{% set ns.n = ns.n + x %}{% endfor %}{{ ns.n }}",
             "{% filter upper %}abc{% endfilter %}", "{% set x %}block{% endset %}{{ x }}", "{% with a = 1 %}{{ a }}{% endwith %}", "{{ range(2, 8, 3)|list }}", "{{ (t and i) or 'n' }}", "{{ i if i > 5 else 'small' }}", "{{ not t }}", "{{ -i }} {{ i - 10 }} {{ 7 // -2 }} {{ -7 % 3 }}", "{{ '3' ~ 4 }}", "{{ 1 == 1.0 }} {{ true == 1 }}", "{{ s.replace('e', '3') }} {{ s.count('e') }} {{ s.find('t') }}", "{{ s.split('e', 1) }}", "{{ ' '.join(['a', 'b']) }}", "{{ 'abc'.center(7) }}|", "{{ 'Ab'.swapcase() }} {{ 'ab'.isalpha() }} {{ '7'.zfill(3) }}", "{{ d.values()|list }}", "{{ l.index('a') }} {{ l.count(1) }}", "{{ 'x'.join('abc') }}", "{{ '{}-{}'.format(1, 'a') }}", "{{ u|upper }} {{ u|length }}", "{{ 1e3 }} {{ 0.1 + 0.2 }} {{ 1 / 3 }}", "{{ 10 ** 20 }}", "{{ 'a\\tb' }}", "{{ '<a href=\"x\">'|e }}", "{{ 'http://a.b/c?d=e f'|urlencode }}", "{{ {'a': 1, 'b': 'x y'}|urlencode }}", "{{ 1234567|filesizeformat }} {{ 1000|filesizeformat(true) }}", "{{ 'foo bar'|wordcount }}", "{{ 'a\nb'|indent(2, true) }}", "{{ [1, [2]]|tojson }}", "{{ n|default('x') }}", "{{ n|tojson }} {{ t|tojson }}", "{{ '1,2'.split(',')|map('int')|sum }}", "{{ l|random is defined }}", "{{ 'a'|list }} {{ 'abc'|reverse }}", "{{ d|attr('k') }}|", "{{ l|max }}", "{{ [2, 10]|min }} {{ ['b', 'A']|min }}", "{{ 3|pprint }}", "{{ 'x' if missing else 'y' }}", "{{ missing|length }}", "{{ s|nope }}", "{{ 1 + 'a' }}", "{{ n + 1 }}", "{{ 5 / 0 }}", "{{ d.k.x.y }}", "{% if missing == none %}a{% else %}b{% endif %}", "{{ l|map('upper')|list }}"]
table("templates", [{"all": variables}] + [{"text": text, **tried(lambda: Template(text).render(**variables))} for text in templates])

from dynamiq.nodes.operators import DecisionTable, Expression, Rules
from dynamiq.utils.utils import JsonWorkflowEncoder
def plain(value): return json.loads(json.dumps(value, cls=JsonWorkflowEncoder))
record = {"n": None, "i": 7, "neg": -7, "f": 2.5, "t": True, "z": 0, "s": "some text", "e": "", "sp": "  ", "l": [3, 1, 2], "el": [], "d": {"k": "v", "items": 5, "n": {"m": 1}}, "amt": "$1,200.50",
          "tbd": "TBD", "day": "2026-08-07", "us": "8/1/2026", "rows": [{"p": 2, "g": "a"}, {"p": 1, "g": "b"}, {"g": "a"}], "big": 10**15, "date": "x", "u": "ünï"}
expressions = """i + 1 ;; i - 2.5 ;; i * f ;; i / 2 ;; i // 2 ;; neg // 2 ;; neg % 3 ;; i % -3 ;; i ** 2 ;; 2 ** -1 ;; -i ;; +i ;; -f ;; 'a' + 'b' ;; 'a' * 3 ;; l + [4] ;; 'a' ~ i ~ f ~ t ~ n ;; 1 < i < 10
1 < i > 10 ;; i == 7.0 ;; t == 1 ;; s == 'some text' ;; i if t else 0 ;; i if z ;; 'A' if f < 0.5 else 'B' if f < 3 else 'C' ;; n or 'x' ;; z or e or 'last' ;; t and i ;; not t ;; not n and t
i > 5 and f < 3 ;; s in ['some text'] ;; 'text' in s ;; 3 in l ;; 4 not in l ;; 'k' in d ;; n is none ;; n is not none ;; i is odd ;; i is even ;; i is divisibleby 7 ;; s is string
l is sequence ;; d is mapping ;; t is boolean ;; i is number ;; zz is defined ;; i is defined ;; zz is undefined ;; l[0] ;; l[-1] ;; l[9] ;; l[1:] ;; l[::-1] ;; s[0] ;; s[:4] ;; s[-4:] ;; d.k
d['k'] ;; d.items ;; d.n.m ;; d.zz ;; d.zz.y ;; zz ;; zz.x ;; d.get('k') ;; d.get('zz') ;; d.get('zz', 3) ;; d.keys() ;; d.values() ;; d.n.items() ;; s.upper() ;; s.split() ;; s.split('e')
s.startswith('some') ;; s.replace('e', 'E') ;; s.title() ;; s.strip() ;; s.count('e') ;; s.find('t') ;; ','.join(['a', 'b']) ;; s.zz ;; s.isdigit() ;; '42'.isdigit() ;; s.endswith('xt')
u.upper() ;; l | length ;; l | sum ;; l | max ;; l | min ;; l | first ;; l | last ;; l | sort ;; l | sort(reverse=true) ;; l | reverse ;; l | join('-') ;; l | list ;; el | first ;; el | max
l | unique ;; rows | map(attribute='p') ;; rows | map(attribute='g') | unique ;; rows | map(attribute='p', default=0) | sum ;; rows | selectattr('g', 'equalto', 'a') | length
rows | selectattr('g', 'equalto', 'a') | list | length ;; rows | rejectattr('p', 'defined') | list ;; l | select('odd') | list ;; l | reject('gt', 1) | list ;; l | map('string') | join
rows | sort(attribute='g') | map(attribute='g') ;; f | round ;; i | round ;; 2.675 | round(2) ;; f | round(0, 'floor') ;; 1.2 | round(0, 'ceil') ;; f | int ;; '12' | int ;; 'x' | int
'x' | int(5) ;; '1.5' | int ;; '1.5' | float ;; 'x' | float ;; neg | abs ;; i | string ;; s | upper ;; s | title ;; s | capitalize ;; s | trim ;; s | replace('e', 'a') ;; s | length
s | wordcount ;; s | list | first ;; '%05d|%.2f|%s' | format(i, f, s) ;; '%s' % i ;; d | items | list ;; s | reverse ;; s | truncate(6) ;; e | default('x') ;; e | default('x', true)
zz | default('x') ;; zz | d(1) ;; d | tojson ;; s | center(13) ;; s | indent(2) ;; '<b>' | e ;; '<b>' | escape ;; len(l) ;; len(s) ;; abs(neg) ;; min(l) ;; max(1, 2) ;; sum(l) ;; round(f)
round(2.675, 2) ;; round(1234, -2) ;; has(i) ;; has(n) ;; has(zz) ;; has(d.zz) ;; text(sp) ;; text(s) ;; text(i) ;; text(zz) ;; text(sp) | lower ;; number('1,234') ;; number(amt)
number('6.25%') ;; number('(5)') ;; number('12,5') ;; number('12,5', decimal=',') ;; number(sp) ;; number(tbd) ;; number(t) ;; number(f) ;; has(number(tbd)) ;; number(tbd) + 1
first_present(zz, n, sp, i) ;; first_present(zz, n) ;; days_between(us, day) ;; days_between(day, us) ;; days_between(date(us), date(day)) ;; date(day) ;; date('March') ;; date(day).year
date('07.08.2026', format='%d.%m.%Y') ;; date(sp) ;; date(day) < date(us) ;; (date(day) - date(us)).days ;; sp is blank ;; sp is present ;; i is present ;; z is blank ;; el is blank
zz is blank ;; n is present ;; text(sp) ~ 'x' ;; text(sp) + 'x' ;; text(sp) == 'x' ;; zz + 1 ;; zz * 2 ;; zz > 1 ;; zz == 1 ;; zz in l ;; 1 in zz ;; not zz ;; zz ~ 'x' ;; n + 1 ;; s + 1 ;; 1 + s
s > 1 ;; n > 1 ;; 1 / 0 ;; 1 // 0 ;; 1 % 0 ;; 1.5 / 0 ;; l[0 ;; i + ;; nope(i) ;; s() ;; i | nope ;; i is nope ;; d.__class__ ;; l.append(1) ;; has(i ;; self.x ;; has and has(i) ;; 1, 2
(1, 2) ;; [1, 'a', zz] ;; {'a': i, 'b': zz} ;; {'a': 1}['a'] ;; [] ;; {} ;; () ;; 'it''s' ;; "x\\ny" ;; 1_000 ;; 1e3 ;; 1.5e-3 ;; true ;; True ;; none ;; None ;; 'a' 'b' ;; range(3)
range(1, 7, 2) ;; dict(a=1) ;; today() == today() ;; max([]) ;; max(el, default=0) ;; sum(['a']) ;; len(i) ;; i(1) ;; date ;; has(date) ;; big * big ;; 'a' < 'b' ;; [1, 2] < [1, 3] ;; (i)
((i)) ;; i if t else zz.x ;; d.n.m if d.n else 0 ;; i and n or s ;; not (t and z) ;; 1 == 1.0 == true ;; l == [3, 1, 2] ;; d.n == {'m': 1}""".replace("\n", " ;; ").split(" ;; ")
rows = list(dict.fromkeys(expressions))
def compute(text): return plain(Expression(expressions=[{"key": "v", "expression": text}]).execute(Expression.input_schema(**record))["v"])
table("expressions", [{"all": record}] + [{"text": text, **tried(lambda: compute(text))} for text in rows])

loan = {"app": {"a": 1, "b": 2, "q": 0, "n": None, "blank": " ", "purpose": "purchase", "list": [1, 2], "items": 3, "amount": "TBD", "rate": "6.25%", "day": "2026-08-01"}, "limits": {"x": 10}, "doc": {"flag": True}, "as_of": "2026-06-01"}
checks = """app.a == 1 ;; app.a == 2 ;; app.zz == 1 ;; app.n == 1 ;; app.zz.y > 1 ;; zz ;; zz.x == 1 ;; not app.zz ;; app.zz or app.a == 1 ;; app.a == 1 or app.zz ;; app.zz or app.a == 2
app.zz and app.a == 2 ;; app.a == 2 and app.zz ;; app.a == 1 and app.zz ;; (app.zz or 100) > 50 ;; has(app.zz) ;; has(app.n) ;; has(app.zz) and app.zz > 1 ;; app.zz is present
app.blank is blank ;; app.n is none ;; app.zz | default(5) == 5 ;; app.zz is defined ;; limits[app.purpose] > 1 ;; limits['x'] > app.a ;; limits[app.zz] > 1 ;; limits.get('y', 3) == 3
limits.get('y') == 3 ;; text(app.blank) == 'x' ;; text(app.purpose) == 'purchase' ;; text(app.zz) == 'x' ;; text(limits[app.purpose]) == 'x' ;; number(app.rate) > 6 ;; number(app.amount) > 6
number(app.amount) > app.zz ;; number(app.zz) > app.zy ;; number(app.blank) > 1 ;; number(app.amount) > app.zz or app.a == 1 ;; app.zz > 1 or number(app.amount) > 1
app.zz > number(app.amount) or app.a == 1 ;; first_present(app.zz, app.n, app.a) == 1 ;; first_present(app.zz, app.n) == 1 ;; days_between(app.day, as_of) < 0 ;; days_between(app.zz, as_of) < 0
days_between(app.blank, app.amount) < 0 ;; days_between(app.amount, app.zz) < 0 ;; date(app.amount) > date(as_of) ;; date(app.day) > date(as_of) ;; date(app.day).year == 2026
date(app.blank).year == 2026 ;; app.items == 3 ;; app.list.count ;; app.list.count(1) == 1 ;; app.list | length == 2 ;; app.list[0] == 1 ;; app.list[9] == 1 ;; app.list | select('odd')
app.list | select('gt', 5) ;; app.zz or app.list | select('odd') ;; app.list | select('gt', 5) or app.zz ;; app.b / app.q > 1 ;; app.b / app.zz > 1 ;; app.b / app.q > 1 or app.a == 1
app.a > 'x' ;; firstpresent(app.zz) ;; firstpresent(app.a) ;; app.a(1) ;; 1 < app.a < app.zz ;; 0 < app.a < app.zz ;; app.a if app.b == 2 else app.zz ;; app.zz if app.b == 3 else app.a
app.zz == 1 if app.b == 2 else true ;; doc.flag ;; doc.zz | default(false) ;; app.purpose in ['purchase', 'x'] ;; app.zz in ['x'] ;; 'x' in app.zz ;; app.a + app.zz > 1 ;; ltv <= 80 ;; ratio > 1
unknown > 1 ;; looked == 1 ;; ltv is defined ;; has(ratio) ;; first_present(ratio, 1) == 1 ;; first_present(looked, 1) == 1 ;; text(app.zz) ~ 'x' == 'x' ;; text(app.blank) | lower == 'x'
text(app.blank) | lower is blank ;; app.zz | lower == 'x' ;; app.blank == ' ' ;; text(app.blank if app.a == 1 else app.zz) == 'x' ;; text(app.zz or app.blank) == 'x'
text(app.zz | default(app.blank)) == 'x' ;; text(app.zz | default('x')) == 'x' ;; true ;; false ;; 1 ;; 0 ;; 'x' ;; none ;; [] ;; app ;; lowr(app.a) == 1 ;; not (app.zz and app.a == 2)
not (app.a == 1 and app.zz) ;; app.zz or app.zy or app.a == 1 ;; app.zz and (app.zy or app.a == 2)""".replace("\n", " ;; ").split(" ;; ")
derived = [{"name": "ltv", "expression": "app.a / app.zz"}, {"name": "ratio", "expression": "app.b / app.q"}, {"name": "looked", "expression": "limits[app.purpose]"}, {"name": "twice", "expression": "app.a * 2"}]
def find(check, policy, **more):
    node = Rules(input_fields=[{"name": name} for name in loan if name != "as_of"], derived_values=derived, on_missing=policy,
                 rules=[{"id": "r", "check": check, "message": "a={{ app.a }} zz={{ app.zz }}{% if has(ratio) %} r{% else %} none{% endif %}", **more}])
    return plain(node.execute(Rules.input_schema(**loan)))
def short(found): return {"status": found["status"], "finding": {key: found["findings"][0][key] for key in ("status", "message", "evaluated")}}
made = [{"check": check, "policy": policy, **tried(lambda: short(find(check, policy)))} for check in dict.fromkeys(checks) for policy in ("not_evaluated", "not_applicable", "fail")]
for more in [{"applies_when": "app.a == 2"}, {"applies_when": "app.a == 1"}, {"applies_when": "app.zz == 1"}, {"applies_when": "app.amount > 1"}, {"severity": "warn"}, {"severity": "info"}, {"effective_from": "2026-07-01"}, {"effective_until": "2026-05-31"}, {"effective_from": "2026-01-01", "effective_until": "2026-12-31"},
             {"effective_from": "2027-01-01", "effective_until": "2027-12-31"}, {"message": "{{ app.list | join(', ') }}: {% for x in app.list %}<{{ x }}>{% endfor %} {{ number(app.amount) }} {{ app.items.zz }}|{{ text(app.blank) }}"}, {"message": "{{ app.a + app.zz }}"}, {"message": ""}, {"on_missing": "fail"}, {"on_missing": "skip"}]:
    made.append({"check": "app.a == 2", "policy": "not_evaluated", "more": more, **tried(lambda: short(find("app.a == 2", "not_evaluated", **more)))})
table("rules", [{"all": loan, "derived": derived}, {"derives": plain({key: value for key, value in find("true", "not_applicable").items() if key.startswith("derived")})}] + made)

cells = """* | 620 | "700" | [620..680] | (620..680) | [1e2..1e3) | >= 620 | > 619.5 | < 0.8 | <= b | != VA | != FHA, VA | == FHA, VA | = 5 | FHA, VA | 'a, b', c | O'Brien, Smith | true | TRUE | -1 | 1.0 | [3..1] | > | >= 1, 2 | a,,b | ten | =true | ["] | [a..b] | '' | "x | >=  620 | !=true | 017 | 0x1F""".split(" | ") + ["", " "]
values = [None, True, 0, 1, 1.0, 5, 620, 650, 680, 700, 100, -1, "", "620", "700", "VA", "FHA", "a, b", "c", "O'Brien", "true", "True", "a", "b", " 5 ", "abc", [1]]
rows = []
for kind in ["Any", "string", "int", "float", "bool"]:
    for cell in cells:
        def matching():
            node = DecisionTable(input_columns=[{"name": "v", "type": kind}], output_columns=[], rules=[{"id": "r", "when": [cell], "then": []}])
            return [bool(node.execute(DecisionTable.input_schema(v=value))["matched_rules"]) for value in values]
        rows.append({"type": kind, "cell": cell, **tried(matching)})
table("cells", [{"values": values}] + rows)
os._exit(0)
