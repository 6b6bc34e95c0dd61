"""The documents: links and anchors resolve, paths exist, lines are short, lists match the code.

Needs only pytest:

    tests/template/run -k test_documents
"""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / ".github").rglob("*.md")])
MAX_LINE = 120
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(r"`((?:apps|clients|docs|events|functions|shared|tests)/[\w./-]+)`")
# Parts of paths that are placeholders.
PLACEHOLDER = re.compile(r"\b(?:NAME|GROUP|APP|FILE|my-app|orders)\b|\.{3}")

per_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))


def lines(document):
    """Yields each line with its number and whether it is code: fenced, or indented by four spaces after an empty
    line."""
    fenced, indented, before = False, False, ""
    for number, line in enumerate(document.read_text().splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
            yield number, line, True
        elif fenced:
            yield number, line, True
        else:
            indented = line.startswith("    ") and (indented or not before.strip())
            yield number, line, indented
        before = line


def prose(document):
    return [(number, line) for number, line, is_code in lines(document) if not is_code]


def slug(heading):
    """Returns GitHub's anchor for a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


@cache
def anchors(document):
    found, times = set(), {}
    for _, line in prose(document):
        if heading := re.match(r"#{1,6} (.+)", line):
            name = slug(heading[1])
            times[name] = times.get(name, -1) + 1
            found.add(f"{name}-{times[name]}" if times[name] else name)
    return found


@per_document
def test_links_and_anchors_resolve(document):
    broken = []
    for number, line in prose(document):
        for target in LINK.findall(re.sub(r"`[^`]*`", "``", line)):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (document.parent / path).resolve() if path else document
            if not file.exists():
                broken.append(f"{number}: {target}: no such file")
            elif anchor and (file.suffix != ".md" or anchor not in anchors(file)):
                broken.append(f"{number}: {target}: no such heading")
    assert not broken, "\n".join(broken)


@per_document
def test_paths_in_the_text_exist(document):
    text = "\n".join(line for _, line in prose(document))
    missing = [path for path in PATH.findall(text) if not PLACEHOLDER.search(path) and not (ROOT / path).exists()]
    assert not missing


@per_document
def test_lines_are_short(document):
    """Checks every line of the README; in other documents prose, except tables."""
    is_readme = document == ROOT / "README.md"
    shown = lines(document) if is_readme else ((number, line, False) for number, line in prose(document))
    long = [number for number, line, _ in shown if len(line) > MAX_LINE and (is_readme or not line.startswith("|"))]
    assert not long, f"lines of more than {MAX_LINE} characters: {long}"


# Phrases that docs/style.md replaces.
ODD = re.compile(r"\b(?:whoever|(?-i:Who has)|so many:|to be had|as many as it may|as they may\b|can not|each \d+ s)\b|\ba second;", re.IGNORECASE)


@per_document
def test_the_words_are_plain(document):
    if document.name != "style.md":
        assert not [(number, line) for number, line in prose(document) if ODD.search(line)]


def test_every_document_is_in_the_index():
    index = (ROOT / "docs/README.md").read_text()
    for document in (ROOT / "docs").glob("*.md"):
        assert document.name == "README.md" or f"]({document.name})" in index, document.name


def test_the_readme_is_short_and_has_the_two_commands():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 100
    assert "\n    cargo run -p runyard\n" in text and "\n    ./test\n" in text
    assert (ROOT / "test").stat().st_mode & 0o100


def sources(*folders):
    """Returns the text of the Rust files, without tests at the end of a file."""
    files = [file for folder in folders for file in ROOT.glob(f"{folder}/src/**/*.rs")]
    return "\n".join(file.read_text().split("#[cfg(test)]\nmod tests")[0] for file in sorted(files))


def missing(document, names):
    text = (ROOT / "docs" / document).read_text()
    return sorted(name for name in names if f"`{name}`" not in text)


def test_every_run_error_code_is_explained():
    code = sources("shared/runs", "shared/engine")
    codes = set(re.findall(r'RunError::new\(\s*"(\w+)"', code))
    (of_nodes,) = re.findall(r"fn code\(&self\) -> &'static str \{(.*?)\n    \}", code, re.DOTALL)
    codes |= set(re.findall(r'=> "(\w+)"', of_nodes))
    assert {"worker_lost", "node_failed", "timeout"} <= codes
    assert not missing("errors.md", codes)


def test_every_key_of_app_yaml_is_explained():
    code = (ROOT / "shared/embedded/src/apps/manifest.rs").read_text()
    keys = {name: re.findall(r'"(\w+)"', body) for name, body in re.findall(r"const (\w*KEYS): [^=]*=\s*\[(.*?)\];", code, re.DOTALL)}
    assert not missing("apps.md", keys["KEYS"] + keys["LIMIT_KEYS"])


def test_every_variable_is_explained():
    code = sources("shared/*", "functions/*") + (ROOT / "template.yaml").read_text()
    names = set(re.findall(r"\bRUNYARD_[A-Z_]+[A-Z]\b", code)) - {"RUNYARD_ARCHITECTURE"}
    assert "RUNYARD_DATA" in names
    assert not missing("configuration.md", names)


def test_every_command_is_explained():
    code = (ROOT / "functions/local/src/cli/help.rs").read_text()
    commands = [name for group in re.findall(r"&\[([^\]]*)\]\)", code) for name in re.findall(r'"(\w+)"', group)]
    assert "serve" in commands
    text = (ROOT / "docs/cli.md").read_text()
    assert not [name for name in commands if f"`runyard {name}" not in text]
