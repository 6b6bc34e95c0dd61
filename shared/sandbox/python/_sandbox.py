"""What of the sandbox is best said in Python.

None of this is a wall: code that gets around it finds no module that could do harm, and the process
that it runs in is locked from outside. It gives authors clear messages and JSON from their objects.
"""

import builtins
import sys

# Loaded once, before the fork, so that no evaluation pays for them.
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


class _Nowhere(io.TextIOBase):
    """What is printed goes nowhere: there is no descriptor for it."""

    def write(self, text):
        return len(text)

    def flush(self):
        pass


sys.stdout = sys.stderr = _Nowhere()


def begin():
    """Runs in each evaluation before its code: what must differ from one to the next."""
    random.seed()


def node():
    """A random node id with the multicast bit, for `uuid1`: there is no network card to ask."""
    return random.getrandbits(48) | (1 << 40)


_VIEWS = (type({}.keys()), type({}.values()), type({}.items()))
# By name, since there is no such object before its module is loaded, and most code loads none of them.
_TEXTS = {
    ("datetime", "timedelta"),
    ("_pydatetime", "timedelta"),
    ("decimal", "Decimal"),
    ("_pydecimal", "Decimal"),
    ("fractions", "Fraction"),
    ("uuid", "UUID"),
}


def plain(value):
    """An object that JSON lacks as one that it has."""
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
