"""Parses Rust sources as far as the checks need it: the functions of a file, their calls, and string literals."""

import dataclasses
import functools
import re

from stack import ROOT

BLANKED = re.compile(
    r"""
      //[^\n]*                                  # a comment
    | /\*.*?\*/
    | r(?P<hashes>\#*)"(?P<raw>.*?)"(?P=hashes) # a raw string
    | b?"(?P<text>(?:\\.|[^"\\])*)"             # a string
    | '(?:\\.[^']*|[^'\\])'                     # a character, not a lifetime
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclasses.dataclass(frozen=True)
class Function:
    """One `fn`: its file, the type (and trait) of its `impl`, and its code without comments and strings."""

    file: str
    of: str
    trait: str
    name: str
    code: str

    def __repr__(self):
        return f"{self.file}: {self.of and self.of + '::'}{self.name}"


def without_texts(source):
    """Returns the code with every comment, string and character blanked; positions stay the same."""
    return BLANKED.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), source)


def end_of_block(code, start):
    """Returns the index after the brace that closes the first one at or after `start`."""
    depth, index = 0, code.index("{", start)
    while True:
        depth += {"{": 1, "}": -1}.get(code[index], 0)
        index += 1
        if depth == 0:
            return index


def without_tests(code):
    """Blanks items with `#[cfg(test)]`."""
    for found in re.finditer(r"#\[cfg\(test\)\]\s*(?:pub(?:\([a-z]+\))? )?(?:mod|impl|fn)\b[^;{]*\{", code):
        end = end_of_block(code, found.start())
        code = code[: found.start()] + re.sub(r"[^\n]", " ", code[found.start() : end]) + code[end:]
    return re.sub(r"#\[cfg\(test\)\]\s*(?:mod|use)\b[^;{]*;", lambda found: " " * len(found[0]), code)


@functools.cache
def files(*folders):
    """Maps the path of every file below these folders to `(source, code)`, without tests and benches."""
    found = {}
    for folder in folders:
        root = ROOT / folder
        for path in [root] if root.is_file() else sorted(root.rglob("*.rs")):
            if {"tests", "benches"} & set(path.relative_to(ROOT).parts) or path.name == "tests.rs":
                continue
            source = path.read_text()
            code = without_tests(without_texts(source))
            found[str(path.relative_to(ROOT))] = (source, code)
    assert found, f"no sources below {folders}"
    return found


@functools.cache
def functions(*folders):
    """Returns every function below these folders."""
    found = []
    for file, (_, code) in files(*folders).items():
        blocks = [
            (block.start(), end_of_block(code, block.start()), block["of"], block["trait"] or "")
            for block in re.finditer(
                r"\b(?:impl|trait)(?:<[^{}]*?>)?\s+(?:(?P<trait>[\w:]+)(?:<[^{}]*?>)?\s+for\s+)?(?:&)?(?P<of>[\w:]+)[^{};]*(?=\{)",
                code,
            )
        ]
        for item in re.finditer(r"\bfn\s+(\w+)(?:\[[^\]]*\]|[^;{\[])*\{", code):
            body = code[item.start() : end_of_block(code, item.start())]
            inside = [block for block in blocks if block[0] < item.start() < block[1]]
            of, trait = (inside[-1][2], inside[-1][3]) if inside else ("", "")
            found.append(Function(file, of.split("::")[-1], trait.split("::")[-1], item[1], body))
    return tuple(found)


def texts(*folders):
    """Yields `(file, text)` for every string literal outside of tests."""
    for file, (source, code) in files(*folders).items():
        for found in BLANKED.finditer(source):
            text = found["text"] if found["text"] is not None else found["raw"]
            # In a blanked test, the line has no code.
            line = code[: found.start()].count("\n")
            if text is not None and code.split("\n")[line].strip():
                yield file, text


def call_graph(everything, common, blanked=lambda code: code):
    """Maps each function to the functions that it may call, by name.

    `self.name(` and `Self::name(` refer to the same type, `Type::name(` and `module::name(` to that type or module, `name(` to
    functions of the same file, `variable.name(` to every method of that name. Names in `common`, which are usually the standard
    library's, are followed only within a file and from a variable that is named like its type. A mention of a type counts as a
    call of its `drop`.
    """
    by_name = {}
    for function in everything:
        by_name.setdefault(function.name, []).append(function)
    edges = {}
    for function in everything:
        code, calls = blanked(function.code), set()
        for receiver, name in re.findall(r"(\w+|[^\w\s])\s*\.(\w+)\(", code):
            for called in by_name.get(name, ()):
                is_same = called.of == function.of if receiver == "self" else receiver == called.of.lower()
                is_service = receiver == "service" and called.of == "RunService"
                is_near = receiver.isidentifier() and called.file == function.file
                is_method = receiver not in ("self", "service") and called.of
                if is_same or is_service or is_method and (name not in common or is_near):
                    calls.add(called)
        for path, name in re.findall(r"(?:(\w+)::)?\b(\w+)(?:::<[^(]*>)?\(", code):
            for called in by_name.get(name, ()):
                is_at_path = path and (called.of == path or called.file.endswith((f"/{path}.rs", f"/{path}/mod.rs")))
                is_own = path == "Self" and called.of == function.of
                if is_at_path or is_own or not path and not called.of and called.file == function.file:
                    calls.add(called)
        calls |= {drop for drop in by_name.get("drop", ()) if drop.trait == "Drop" and re.search(rf"\b{drop.of}\b", code)}
        edges[function] = calls - {function}
    return edges


def reachable(edges, roots):
    """Returns every function that these may call, including themselves."""
    seen, stack = set(), list(roots)
    while stack:
        function = stack.pop()
        if function not in seen:
            seen.add(function)
            stack += edges[function]
    return seen
