"""Malformed request heads, terminal escape sequences, and names of other apps."""

import os
import re
import subprocess
import time

from case import LIMITS, Case
from server import ATTACKER, BIN, uid, write_app
from workflows import ECHO, python

HEADS = {
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "the same host twice": b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "a host with a space": b"GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n",
    "a host with a path": b"GET /healthz HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "a host with userinfo": b"GET /healthz HTTP/1.1\r\nHost: u@a\r\n\r\n",
    "a host with a bad port": b"GET /healthz HTTP/1.1\r\nHost: a:99999\r\n\r\n",
    "an open bracket": b"GET /healthz HTTP/1.1\r\nHost: [::1\r\n\r\n",
    "bare line feeds": b"GET /healthz HTTP/1.1\nHost: a\n\n",
    "a bare line feed in the head": b"GET /healthz HTTP/1.1\r\nHost: a\nX-A: b\r\n\r\n",
    "a folded header": b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n",
    "a space before the colon": b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-A : b\r\n\r\n",
    "a length and chunks": b"POST /v1/runs HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}


def heads(world):
    for name, head in HEADS.items():
        answer = world.server.raw(head, timeout=3)
        assert answer.startswith(b"HTTP/1.1 400") or answer.startswith(b"HTTP/1.0 400"), (name, answer[:100])
    for head in (b"GET /healthz HTTP/1.1\r\nHost: localhost:8787\r\n\r\n", b"GET /healthz HTTP/1.0\r\n\r\n"):
        assert b" 200 " in world.server.raw(head, timeout=2)[:20], head


ESCAPES = "\x1b]0;pwned\x07\x1b[2J\x1b[31mRED\x9b31m\r\nFAKE completed row\u202e"
UNESCAPED = re.compile(rb"\x1b|\x07|\xc2\x9b|\xe2\x80\xae|\r|\nFAKE")


def terminal(world):
    server, key, app = world.server, world.attacker, "escapes"
    run = server.run(app, key, {"m": ESCAPES}, user_id=ESCAPES, metadata={"k": ESCAPES})["id"]
    url = ["--url", f"http://{server.host}:{server.port}", "--key", key, "--app", app]
    commands = [["runs", "list"], ["runs", "get", run], ["runs", "events", run], ["runs", "tail", run]]
    for command in commands:
        ended = subprocess.run([BIN, *command, *url], capture_output=True, timeout=60, env={"PATH": os.environ["PATH"]})
        printed = ended.stdout + ended.stderr
        assert printed.strip(), command
        found = UNESCAPED.search(printed)
        assert not found, (command, printed[max(0, found.start() - 60) : found.end() + 60])


def names_stay(world):
    """A new folder cannot take the name or a host of an app that is served."""
    server = world.server
    write_app(world.apps, "a-thief", ECHO, ATTACKER, "public: true\nhosts: [bystander.localhost]\n")
    path = os.path.join(world.apps, "another-thief")
    write_app(world.apps, "another-thief", ECHO, ATTACKER, "public: true\n")
    text = open(os.path.join(path, "app.yaml")).read()
    with open(os.path.join(path, "app.yaml"), "w") as file:
        file.write(text.replace("name: another-thief", "name: bystander"))
    time.sleep(4)
    run = server.run("bystander", world.victim, {"a": 1})
    assert run["status"] == "completed" and run["app_id"] == uid("bystander"), run
    assert server.run("bystander", None, {"a": 1}).get("http") == 401
    for name in ("a-thief", "another-thief"):
        for file in ("app.yaml", "workflow.yaml"):
            os.remove(os.path.join(world.apps, name, file))
        os.rmdir(os.path.join(world.apps, name))
    time.sleep(2)


FAILING = python('def run(d):\n    raise ValueError(d["m"])')

CASES = [
    Case("heads", heads),
    Case("terminal", terminal, {"escapes": (FAILING, LIMITS)}),
    Case("names-stay", names_stay),
]
