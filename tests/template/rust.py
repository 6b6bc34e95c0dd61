"""Reads Rust sources as far as the checks need it: the functions of a file, what they call, which texts they hold."""

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
    """One `fn`: where it is, for which type (and trait) it is implemented, and its code without comments and texts."""

    file: str
    of: str
    trait: str
    name: str
    code: str

    def __repr__(self):
        return f"{self.file}: {self.of and self.of + '::'}{self.name}"


def without_texts(source):
    """The code with every comment, string and character blanked, at the same places."""
    return BLANKED.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), source)


def end_of_block(code, start):
    """The index after the brace that closes the one at or after `start`."""
    depth, index = 0, code.index("{", start)
    while True:
        depth += {"{": 1, "}": -1}.get(code[index], 0)
        index += 1
        if depth == 0:
            return index


def without_tests(code):
    """Blanks what stands behind `#[cfg(test)]`."""
    for found in re.finditer(r"#\[cfg\(test\)\]\s*(?:pub(?:\([a-z]+\))? )?(?:mod|impl|fn)\b[^;{]*\{", code):
        end = end_of_block(code, found.start())
        code = code[: found.start()] + re.sub(r"[^\n]", " ", code[found.start() : end]) + code[end:]
    return re.sub(r"#\[cfg\(test\)\]\s*(?:mod|use)\b[^;{]*;", lambda found: " " * len(found[0]), code)


@functools.cache
def files(*folders):
    """`path → (source, code)` of every file below these folders, tests and benches left out."""
    found = {}
    for folder in folders:
        place = ROOT / folder
        for path in [place] if place.is_file() else sorted(place.rglob("*.rs")):
            if {"tests", "benches"} & set(path.relative_to(ROOT).parts) or path.name == "tests.rs":
                continue
            source = path.read_text()
            code = without_tests(without_texts(source))
            found[str(path.relative_to(ROOT))] = (source, code)
    assert found, f"no sources below {folders}"
    return found


@functools.cache
def functions(*folders):
    """Every function below these folders."""
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
    """`(file, text)` of every string literal outside of tests."""
    for file, (source, code) in files(*folders).items():
        for found in BLANKED.finditer(source):
            text = found["text"] if found["text"] is not None else found["raw"]
            # What stands in a blanked test has no code around it.
            line = code[: found.start()].count("\n")
            if text is not None and code.split("\n")[line].strip():
                yield file, text


def call_graph(everything, common, blanked=lambda code: code):
    """Function → the functions that it may call, by name.

    `self.name(` and `Self::name(` go to the same type, `Type::name(` and `module::name(` where they say, `name(` to the file's own
    functions, `variable.name(` to every method of that name; but names in `common`, which are far oftener the standard
    library's, only within a file and from a variable that is named like its type. A value that is dropped runs its `drop`.
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
                is_told = receiver not in ("self", "service") and called.of
                if is_same or is_service or is_told and (name not in common or is_near):
                    calls.add(called)
        for path, name in re.findall(r"(?:(\w+)::)?\b(\w+)(?:::<[^(]*>)?\(", code):
            for called in by_name.get(name, ()):
                is_there = path and (called.of == path or called.file.endswith((f"/{path}.rs", f"/{path}/mod.rs")))
                is_own = path == "Self" and called.of == function.of
                if is_there or is_own or not path and not called.of and called.file == function.file:
                    calls.add(called)
        calls |= {drop for drop in by_name.get("drop", ()) if drop.trait == "Drop" and re.search(rf"\b{drop.of}\b", code)}
        edges[function] = calls - {function}
    return edges


def reachable(edges, roots):
    """Every function that these may come to call, themselves included."""
    seen, stack = set(), list(roots)
    while stack:
        function = stack.pop()
        if function not in seen:
            seen.add(function)
            stack += edges[function]
    return seen
