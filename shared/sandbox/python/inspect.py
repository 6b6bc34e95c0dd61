"""The part of `inspect` that `dataclasses`, `enum` and `typing` use; the original loads many more modules."""

import types


def isclass(object):
    return isinstance(object, type)


def isfunction(object):
    return isinstance(object, types.FunctionType)


def ismethod(object):
    return isinstance(object, types.MethodType)


def isgenerator(object):
    return isinstance(object, types.GeneratorType)


def iscoroutinefunction(object):
    return isfunction(object) and bool(object.__code__.co_flags & 128)


def unwrap(function, *, stop=None):
    while hasattr(function, "__wrapped__") and not (stop is not None and stop(function)):
        function = function.__wrapped__
    return function


def signature(object):
    raise ValueError("no signature found")


_missing = []


def getattr_static(object, name, default=_missing):
    kinds = type.__mro__.__get__(object) if isinstance(object, type) else type(object).__mro__
    if not isinstance(object, type):
        try:
            return object.__dict__[name]
        except (AttributeError, KeyError):
            pass
    for kind in kinds:
        if name in kind.__dict__:
            return kind.__dict__[name]
    if default is _missing:
        raise AttributeError(name)
    return default
