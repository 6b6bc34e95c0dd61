"""The part of `os` that modules of the standard library use; none of it accesses the system.

User code cannot import it. The host adds `urandom`.
"""

name = "posix"
sep = "/"
linesep = "\n"
curdir = "."
environ = {}


def getpid():
    return 1


def fspath(path):
    if isinstance(path, (str, bytes)):
        return path
    return type(path).__fspath__(path)
