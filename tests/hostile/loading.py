"""App files that could crash a running server when it loads them."""

import os
import subprocess
import time

from case import Case
from server import ATTACKER, BIN, write_app
from workflows import selector, single, template


def steps(count):
    return "".join(
        f"  n{n}: {{type: dynamiq.nodes.operators.Pass, depends: [{{node: input}}]}}\n" for n in range(count)
    )


def many_nodes(count):
    names = ", ".join(f"n{n}" for n in range(count))
    text = "nodes:\n  input: {type: dynamiq.nodes.utils.Input}\n" + steps(count)
    return text + f"flows: {{f: {{nodes: [input, {names}]}}}}\nworkflows: {{w: {{flow: f}}}}\n"


def aliases(levels):
    """Each level contains the previous one nine times."""
    text = "a0: &a0 [x]\n"
    for level in range(1, levels):
        text += f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n"
    return text + selector("$.a")


def references(levels):
    text = 'r0: "xxxxxxxxxx"\n'
    for level in range(1, levels):
        text += f"r{level}: \"{'${r%d}' % (level - 1) * 2}\"\n"
    return text + selector("$.a").replace("selector: {", "selector: {y: '${r%d}', " % (levels - 1))


def expression(text):
    return single("operators.Expression", f"expressions: [{{key: x, expression: '{text}'}}]\n")


def condition(depth):
    text = "{variable: $.a, operator: boolean-equals, value: true}"
    for _ in range(depth):
        text = f"{{operator: and, operands: [{text}]}}"
    return single("operators.Choice", f"options: [{{id: a, condition: {text}}}]\n")


def schema(depth):
    text = "{type: string}"
    for _ in range(depth):
        text = f"{{type: object, properties: {{a: {text}}}}}"
    return selector("$.a").replace("Input}", f"Input, schema: {text}}}", 1)


FILES = {
    "path-long": selector("$" + ".a" * 500_000),
    "path-parentheses": selector("(" * 300_000 + "$" + ")" * 300_000),
    "path-descents": selector("$" + "..*" * 300_000),
    "path-unions": selector("|".join(["$.a"] * 300_000)),
    "path-brackets": selector("$" + "[0]" * 300_000),
    "jinja-minus": template("{{ " + "-" * 200_000 + "1 }}"),
    "jinja-not": template("{{ " + "not " * 200_000 + "1 }}"),
    "jinja-parentheses": template("{{ " + "(" * 200_000 + "1" + ")" * 200_000 + " }}"),
    "jinja-lists": template("{{ " + "[" * 200_000 + "1" + "]" * 200_000 + " }}"),
    "jinja-sum": template("{{ " + "1+" * 200_000 + "1 }}"),
    "jinja-tilde": template("{{ " + "a~" * 200_000 + "a }}"),
    "jinja-attributes": template("{{ a" + ".b" * 200_000 + " }}"),
    "jinja-calls": template("{{ a" + "()" * 200_000 + " }}"),
    "jinja-filters": template("{{ a" + "|upper" * 200_000 + " }}"),
    "jinja-blocks": template("{% if a %}" * 50_000 + "x" + "{% endif %}" * 50_000),
    "jinja-elif": template("{% if a %}" + "{% elif a %}" * 50_000 + "{% endif %}"),
    "jinja-conditional": template("{{ " + "1 if a else " * 100_000 + "1 }}"),
    "expression-parentheses": expression("(" * 200_000 + "1" + ")" * 200_000),
    "expression-minus": expression("-" * 200_000 + "1"),
    "expression-not": expression("not " * 200_000 + "a"),
    "expression-sum": expression("1+" * 200_000 + "1"),
    "expression-power": expression("2**" * 200_000 + "1"),
    "expression-lists": expression("[" * 200_000 + "]" * 200_000),
    "expression-attributes": expression("a" + ".b" * 200_000),
    "expression-and": expression("a and " * 200_000 + "a"),
    "yaml-flow": "a: " + "[" * 500_000 + "]" * 500_000,
    "yaml-block": "\n".join(" " * n + "- a:" for n in range(3000)),
    "yaml-sequences": "- " * 500_000 + "a",
    "yaml-aliases": aliases(12),
    "yaml-key": "? " * 200_000 + "a",
    "yaml-large": "a: " + "x" * (64 << 20),
    "yaml-anchors": "".join(f"k{n}: &k{n} *k{n - 1}\n" if n else "k0: &k0 a\n" for n in range(100_000)),
    "references-double": references(40),
    "references-chain": "".join(f"r{n}: '${{r{n + 1}}}'\n" for n in range(20_000)) + "r20000: x\n",
    "regex-size": single("extractors.ByRegexExtractor", "pattern: '((((a{1000}){1000}){1000}){1000})'\n"),
    "regex-parentheses": single("extractors.ByRegexExtractor", f"pattern: '{'(' * 100_000}a{')' * 100_000}'\n"),
    "regex-fancy": single("extractors.ByRegexExtractor", f"pattern: '{'(?=' * 50_000}a{')' * 50_000}'\n"),
    "conditions": condition(20_000),
    "schema-deep": schema(20_000),
    "schema-pattern": selector("$.a").replace(
        "Input}", "Input, schema: {properties: {a: {type: string, pattern: '((a{1000}){1000}){1000}'}}}}", 1
    ),
    "nodes-many": many_nodes(20_000),
}

APP_FILES = {
    "app-deep": "x: " + "[" * 500_000 + "]" * 500_000 + "\n",
    "app-large": "x: " + "x" * (32 << 20) + "\n",
    "app-hosts": "hosts: [" + ", ".join(f"h{n}.example" for n in range(200_000)) + "]\n",
}


def beside(names):
    """The server survives when a folder with such a file appears."""

    def check(world):
        for name in names:
            if name in FILES:
                write_app(world.apps, name, FILES[name], ATTACKER)
            else:
                write_app(world.apps, name, selector("$.a"), ATTACKER, APP_FILES[name])
        # The server notices a change within about 1 s, and then checks each file.
        until = time.monotonic() + 8
        while time.monotonic() < until and world.server.alive():
            time.sleep(0.2)
        assert world.server.alive(), "the server ended"
        assert world.server.run("bystander", world.victim, {"a": 1})["status"] == "completed"
        for name in names:
            for file in ("app.yaml", "workflow.yaml"):
                os.remove(os.path.join(world.apps, name, file))
            os.rmdir(os.path.join(world.apps, name))
        time.sleep(1)

    return check


def checked(world):
    """`apps check` reports the errors of each file in bounded time, and does not crash."""
    failures = []
    for name in [*FILES, *APP_FILES]:
        root = os.path.join(world.server.root, "checked", name)
        extra = APP_FILES.get(name, "")
        write_app(root, name, FILES.get(name, selector("$.a")), ATTACKER, extra)
        command = ["sh", "-c", 'ulimit -v 2097152; exec "$@"', "sh", BIN, "apps", "check", "--apps", root]
        started = time.monotonic()
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=30, env={"PATH": os.environ["PATH"]})
        except subprocess.TimeoutExpired:
            failures.append(f"{name}: not checked within 30 s")
            continue
        if ended.returncode < 0 or ended.returncode > 100:
            failures.append(f"{name}: ended with {ended.returncode}: {ended.stderr[-200:]}")
        elif time.monotonic() - started > 15:
            failures.append(f"{name}: {time.monotonic() - started:.1f} s")
        elif len(ended.stderr) + len(ended.stdout) > 200_000:
            failures.append(f"{name}: {len(ended.stderr) + len(ended.stdout)} bytes of output")
    assert not failures, "\n".join(failures)


NAMES = [*FILES, *APP_FILES]

CASES = [Case("files-checked", checked)] + [
    Case(f"files-beside-{start // 12 + 1}", beside(NAMES[start : start + 12])) for start in range(0, len(NAMES), 12)
]
