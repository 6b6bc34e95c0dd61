"""Endless computations: templates, expressions, selectors, regular expressions, schemas, conditions."""

import json
import time

from case import LIMITS, Case, ends, ends_with_a_limit, fails
from server import ENDED
from workflows import selector, single, template

HUGE = 100_000_000_000
LOOP = "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}x"


def nested(depth):
    return json.loads('{"a":' * depth + "1" + "}" * depth)


def expression(text):
    return single("operators.Expression", f"expressions: [{{key: x, expression: {json.dumps(text)}}}]\n")


def choice(pattern):
    condition = {
        "id": "a",
        "condition": {"variable": "$.value", "operator": "string-regexp", "value": pattern},
    }
    return single("operators.Choice", f"options: {json.dumps([condition])}\n")


def regex(pattern):
    return single("extractors.ByRegexExtractor", f"pattern: {json.dumps(pattern)}\n")


def guard(pattern):
    """An agent whose guard refuses the input; its model is never called."""
    fields = "llm:\n  type: dynamiq.nodes.llms.OpenAI\n  model: m\n"
    fields += "  connection: {type: dynamiq.connections.OpenAI, api_key: k, url: 'http://127.0.0.1:9/v1'}\n"
    fields += f"hooks: [{{type: regex, patterns: [{json.dumps(pattern)}], 'on': [input], message: refused}}]\n"
    return single("agents.Agent", fields)


def schema(fields):
    text = "nodes:\n  input: {type: dynamiq.nodes.utils.Input, schema: %s}\n" % json.dumps(fields)
    text += "  output: {type: dynamiq.nodes.utils.Output, depends: [{node: input}]}\n"
    return text + "flows: {f: {nodes: [input, output]}}\nworkflows: {w: {flow: f}}\n"


def is_interrupted(how):
    """A loop and its computation end within about 1 s of the cancellation or the deadline."""

    def check(world):
        server = world.server
        run = server.start_run(f"endless-{how}", world.attacker, {})
        time.sleep(0.5)
        if how == "cancel":
            assert server.cancel(f"endless-{how}", world.attacker, run) == 200
        ended = server.wait(f"endless-{how}", world.attacker, run, 20)
        assert ended["status"] in ENDED, ended
        time.sleep(2)
        before = server.cpu_seconds()
        time.sleep(2)
        used = server.cpu_seconds() - before
        assert used < 1, f"{used} s of processor time in 2 s after the run had ended"

    limits = "limits: {run_seconds: 1, concurrent_runs: 50}\n" if how == "deadline" else LIMITS
    return Case(f"endless-{how}", check, {f"endless-{how}": (template(LOOP), limits)})


def recursive_schema():
    """A recursive `anyOf`: each level of the input doubles the work."""
    again = {"type": "object", "properties": {"a": {"$ref": "#/$defs/n"}}}
    definition = {"anyOf": [{**again, "required": ["b"]}, {**again, "required": ["c"]}, again]}

    def check(world):
        found = world.server.run("schema-recursive", world.attacker, {"x": nested(60)}, timeout=60)
        assert found["status"] in ("refused", "failed", "completed"), found

    fields = {"type": "object", "$defs": {"n": definition}, "properties": {"x": {"$ref": "#/$defs/n"}}}
    return Case("schema-recursive", check, {"schema-recursive": (schema(fields), LIMITS)})


def unique_items():
    def check(world):
        data = {"x": [{"a": index} for index in range(20_000)]}
        found = world.server.run("schema-unique-items", world.attacker, data, timeout=60)
        assert found["status"] in ("refused", "failed", "completed"), found

    fields = {"type": "object", "properties": {"x": {"type": "array", "uniqueItems": True}}}
    return Case("schema-unique-items", check, {"schema-unique-items": (schema(fields), LIMITS)})


def widths():
    """Templates that use a caller's number as a width."""
    templates = {
        "ljust": "{{ s.ljust(w) }}",
        "rjust": "{{ s.rjust(w) }}",
        "center": "{{ s|center(w) }}",
        "center-method": "{{ s.center(w) }}",
        "zfill": "{{ s.zfill(w) }}",
        "indent": "{{ s|indent(w, true) }}",
        "tojson": "{{ [[s]]|tojson(indent=w) }}",
        "repetition": "{{ s * w }}",
        "list-repetition": "{{ ([s] * w)|length }}",
        "format": "{{ '%' ~ w ~ 's' }}{{ ('%' ~ w ~ 's')|format(s) }}",
        "format-method": "{{ ('{:>' ~ w ~ '}').format(s) }}",
        "precision": "{{ ('%.' ~ w ~ 'f')|format(1.5) }}",
        "batch": "{{ [s]|batch(w, s)|list|length }}",
        "slice": "{{ [s]|slice(w)|list|length }}",
        "range": "{{ range(w)|list|length }}",
        "sum": "{{ range(w)|sum }}",
        "expandtabs": "{{ '\\t'.expandtabs(w) }}",
        "join": "{{ range(w)|join(',') }}",
    }
    apps = {f"width-{name}": (template(text), LIMITS) for name, text in templates.items()}

    def check(world):
        for width in (HUGE, 2_000_000_000):
            data = {"s": "a", "w": width}
            runs = {app: world.server.start_run(app, world.attacker, data) for app in apps}
            for app, run in runs.items():
                ended = world.server.wait(app, world.attacker, run)
                # The error may also be another one: the reference's filters refuse some widths, and some methods do not
                # exist.
                assert ended["status"] == "failed", (app, width, ended["status"], str(ended.get("output"))[:100])

    return Case("widths", check, apps)


MACROS = "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(40) }}"
DOUBLING = "{%% set n = namespace(s='x') %%}{%% for i in range(60) %%}{%% set n.s = %s %%}{%% endfor %%}{{ n.s|length }}"

CASES = [
    ends_with_a_limit("loop", template(LOOP), count=2),
    is_interrupted("cancel"),
    is_interrupted("deadline"),
    widths(),
    ends_with_a_limit("doubling-tilde", template(DOUBLING % "n.s ~ n.s")),
    ends_with_a_limit("doubling-plus", template(DOUBLING % "n.s + n.s")),
    ends_with_a_limit("doubling-join", template(DOUBLING % "[n.s, n.s]|join")),
    ends_with_a_limit("doubling-replace", template(DOUBLING % "n.s|replace('x', 'xx')")),
    ends_with_a_limit("doubling-list", template(DOUBLING.replace("'x'", "[1]") % "n.s + n.s")),
    ends_with_a_limit("doubling-format", template(DOUBLING % "'%s%s'|format(n.s, n.s)")),
    ends_with_a_limit("doubling-nested", template(DOUBLING.replace("'x'", "[1]").replace("|length", "") % "[n.s, n.s]")),
    fails("macros", template(MACROS)),
    ends_with_a_limit("expression-repetition", expression("'a' * w"), {"w": HUGE}),
    ends_with_a_limit("expression-ljust", expression("s.ljust(w)"), {"s": "a", "w": HUGE}),
    ends_with_a_limit("expression-zfill", expression("s.zfill(w)"), {"s": "1", "w": HUGE}),
    # The reference itself refuses a range of more than 100,000.
    fails("expression-range", expression("range(w)|list|length"), {"w": HUGE}),
    ends_with_a_limit("selector-descent", selector("$..*..*..*"), nested(95)),
    ends_with_a_limit("selector-descent-twice", selector("$..a..a..a..a..a"), nested(95)),
    ends_with_a_limit("selector-union", selector("$..*|$..*|($..*..*|$..*..*)"), {"a": [nested(20)] * 400}),
    ends_with_a_limit("regex-iterate", regex(".*[^A-Z]|[A-Z]"), {"value": "A" * 1_000_000}, count=2),
    ends("regex-backtrack", regex(r"(?=x)(x+x+)+y"), {"value": "x" * 50_000}),
    ends("regex-backreference", regex(r"(x+)+\1y"), {"value": "x" * 5_000}),
    ends("regex-condition", choice(r"^(a|aa)+$"), {"value": "a" * 100_000 + "b"}),
    ends("regex-condition-fancy", choice(r"^(?:(a+)+)(?!b)$"), {"value": "a" * 30_000 + "b"}),
    ends("agent-guard", guard(r"(?=x)(x+x+)+y"), {"input": "x" * 50_000}, count=4),
    ends("agent-template", guard("y"), {"input": LOOP, "own": 1}, count=4),
    recursive_schema(),
    unique_items(),
]

