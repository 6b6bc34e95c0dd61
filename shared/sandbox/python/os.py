"""The little of `os` that the standard library's own modules ask for; none of it reaches the system.

User code cannot import it. `urandom` is put in by the host.
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
