"""The part of the sandbox that is written in Python.

None of this is a security boundary: code that bypasses it finds no module that could do harm, and its process is locked
down from outside. It provides clear error messages and converts objects to JSON.
"""

import builtins
import sys

# Loaded once, before the fork, so that evaluations need not load them.
import collections.abc
import encodings
import encodings.ascii
import encodings.latin_1
import encodings.utf_8
import enum
import functools
import io
import json
import math
import operator
import random
import re
import string
import time

ALLOWED = frozenset(
    """
    __future__ abc array base64 binascii bisect calendar cmath collections colorsys contextlib copy csv
    dataclasses datetime decimal difflib enum fractions functools graphlib hashlib heapq hmac html
    io ipaddress itertools json keyword math numbers operator pprint random re secrets statistics string
    struct textwrap time types typing unicodedata urllib uuid warnings weakref zlib
    """.split()
)

_import = builtins.__import__


def _import_allowed(name, globals=None, locals=None, fromlist=(), level=0):
    if globals is not None and globals.get("__name__") == "__main__":
        root = name.partition(".")[0]
        if level or root not in ALLOWED:
            raise ImportError(f"Import of '{root}' is not allowed", name=name)
    return _import(name, globals, locals, fromlist, level)


builtins.__import__ = _import_allowed
for _name in ("open", "input", "breakpoint", "exit", "quit", "help"):
    if hasattr(builtins, _name):
        delattr(builtins, _name)


class _NullStream(io.TextIOBase):
    """Discards what is printed: no descriptor exists for it."""

    def write(self, text):
        return len(text)

    def flush(self):
        pass


sys.stdout = sys.stderr = _NullStream()


def begin():
    """Runs in each evaluation before its code: resets what must differ between evaluations."""
    random.seed()


# Limits on the expressions compiled in advance: their number, and their characters in total.
_MAX_PATTERNS = 64
_MAX_CHARACTERS = 16 * 1024

# The position of `flags` among the arguments of a function of `re`.
_FLAGS = {"compile": 1, "search": 2, "match": 2, "fullmatch": 2, "findall": 2, "finditer": 2, "split": 3, "sub": 4, "subn": 4}


def prepare(source):
    """Runs in a template. Loads the modules that the code imports and compiles its literal patterns; does not run the
    code.

    Keeps only what the library would produce from the same text in each evaluation.
    """
    characters = patterns = 0
    pending = [compile(source, "<node>", "exec", 0x400)]
    while pending:
        node = pending.pop()
        kind = type(node).__name__
        if kind == "Import":
            for alias in node.names:
                _load(alias.name)
        elif kind == "ImportFrom" and not node.level:
            _load(node.module)
        elif kind == "Call" and patterns < _MAX_PATTERNS and (literal := _pattern(node)):
            characters += len(literal[0])
            if characters > _MAX_CHARACTERS:
                patterns = _MAX_PATTERNS
                continue
            patterns += 1
            try:
                re.compile(*literal)
            except Exception:
                pass
        for field in node._fields:
            value = getattr(node, field, None)
            pending.extend(it for it in (value if isinstance(value, list) else [value]) if hasattr(it, "_fields"))


def _load(name):
    if name.partition(".")[0] in ALLOWED:
        try:
            _import(name)
        except Exception:
            pass


def _pattern(call):
    """Returns pattern and flags of a call like `re.search("a", text, re.I)`, if they are literals."""
    function = call.func
    if type(function).__name__ != "Attribute" or type(function.value).__name__ != "Name":
        return None
    position = _FLAGS.get(function.attr)
    if function.value.id != "re" or position is None or not call.args:
        return None
    pattern = getattr(call.args[0], "value", None)
    if type(call.args[0]).__name__ != "Constant" or not isinstance(pattern, (str, bytes)):
        return None
    given = call.args[position : position + 1] + [it.value for it in call.keywords if it.arg == "flags"]
    flags = _flags(given[0]) if given else 0
    return None if flags is None else (pattern, flags)


def _flags(node):
    kind = type(node).__name__
    if kind == "Attribute" and type(node.value).__name__ == "Name" and node.value.id == "re":
        flag = getattr(re, node.attr, None)
        return flag if isinstance(flag, re.RegexFlag) and flag != re.DEBUG else None
    if kind == "BinOp" and type(node.op).__name__ == "BitOr":
        left, right = _flags(node.left), _flags(node.right)
        return None if left is None or right is None else left | right
    return None


def node():
    """Returns a random node id with the multicast bit, for `uuid1`: the sandbox has no network card."""
    return random.getrandbits(48) | (1 << 40)


_VIEWS = (type({}.keys()), type({}.values()), type({}.items()))
# By name, since most code does not load these modules, and their classes do not exist before.
_TEXTS = {
    ("datetime", "timedelta"),
    ("_pydatetime", "timedelta"),
    ("decimal", "Decimal"),
    ("_pydecimal", "Decimal"),
    ("fractions", "Fraction"),
    ("uuid", "UUID"),
}


def plain(value):
    """Converts an object without a JSON equivalent to one that has one."""
    kind = type(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, io.BytesIO):
        value = value.getvalue()
    if isinstance(value, (bytes, bytearray, memoryview)):
        value = bytes(value)
        try:
            return value.decode()
        except UnicodeDecodeError:
            import binascii

            return binascii.b2a_base64(value, newline=False).decode()
    if isinstance(value, (collections.deque, range, *_VIEWS)):
        return list(value)
    for base in kind.__mro__:
        if (base.__module__, base.__qualname__) in _TEXTS:
            return str(value)
        if base.__module__ in ("datetime", "_pydatetime"):
            return value.isoformat()
    if isinstance(value, BaseException):
        return str(value)
    if "__dataclass_fields__" in dir(kind):
        return {name: getattr(value, name) for name in kind.__dataclass_fields__}
    if callable(value):
        return f"func: {getattr(value, '__name__', value)}"
    raise TypeError(f"Object of type {kind.__name__} is not JSON serializable")
