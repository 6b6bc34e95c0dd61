"""Callers that use up a shared resource: other organizations are still served."""

import socket
import time

from case import LIMITS, Case
from server import VICTIM, write_app
from workflows import python, single

SLEEP = python("import time\ndef run(d):\n    time.sleep(100)\n    return 1")
WRITE = single("writers.InMemoryDocumentWriter", "index_name: x\n")
DELAY = single("operators.Delay", "seconds: 40\n")


def served(world, name, text, data, seconds=20):
    """Checks that the other organization's app is served within `seconds` while the attacker's runs use the
    resource."""
    if not hasattr(world, "served"):
        world.served = set()
    if name not in world.served:
        write_app(world.apps, name, text, VICTIM, LIMITS)
        world.served.add(name)
        time.sleep(3)
    started = time.monotonic()
    run = world.server.run(name, world.victim, data, timeout=60)
    took = time.monotonic() - started
    assert run["status"] == "completed" and took < seconds, (run, took)


def sleepers(world):
    runs = [world.server.start_run("hog-python", world.attacker, {}) for _ in range(24)]
    try:
        time.sleep(1)
        served(world, "victim-python", python("def run(d):\n    return 1"), {"a": 1})
    finally:
        [world.server.cancel("hog-python", world.attacker, run) for run in runs]


def computers(world):
    """Heavy templates of one app do not block those of another."""
    runs = [world.server.start_run("hog-template", world.attacker, {}) for _ in range(24)]
    try:
        text = single("transformers.TextTemplate", "template: '{{ a * 30000 }}{% for i in range(60000) %}.{% endfor %}'\n")
        served(world, "victim-template", text, {"a": "x"}, 40)
    finally:
        [world.server.cancel("hog-template", world.attacker, run) for run in runs]


def documents(world):
    for size in (3_900_000, 400_000, 40_000, 4_000, 400):
        for index in range(400):
            document = {"id": f"{size}-{index}", "content": "x" * size, "embedding": [1.0]}
            run = world.server.run("hog-documents", world.attacker, {"documents": [document]})
            if run["status"] != "completed":
                break
    served(world, "victim-documents", WRITE, {"documents": [{"id": "v", "content": "hello", "embedding": [1.0]}]})


def waiting(world):
    """Background runs that only wait occupy no worker."""
    runs = [world.server.start_run("hog-delay", world.attacker, {}) for _ in range(200)]
    try:
        time.sleep(2)
        started = time.monotonic()
        run = world.server.start_run("bystander", world.victim, {"a": 1})
        ended = world.server.wait("bystander", world.victim, run, 30)
        assert ended["status"] == "completed", ended
        assert time.monotonic() - started < 10, time.monotonic() - started
    finally:
        [world.server.cancel("hog-delay", world.attacker, run) for run in runs]


def connections(world):
    """One client's idle connections do not exclude other clients."""
    held = []
    try:
        for _ in range(1500):
            try:
                connection = socket.socket()
                connection.settimeout(2)
                connection.bind(("127.0.0.2", 0))
                connection.connect((world.server.host, world.server.port))
                held.append(connection)
            except OSError:
                break
        assert world.server.run("bystander", world.victim, {"a": 1}, timeout=10)["status"] == "completed"
    finally:
        [connection.close() for connection in held]


HEAVY = "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}x"

CASES = [
    Case("fair-sandbox", sleepers, {"hog-python": (SLEEP, LIMITS)}),
    Case("fair-compute", computers, {"hog-template": (single("transformers.TextTemplate", f"template: '{HEAVY}'\n"), LIMITS)}),
    Case("fair-documents", documents, {"hog-documents": (WRITE, LIMITS)}),
    Case("fair-waiting", waiting, {"hog-delay": (DELAY, "limits: {run_seconds: 120, concurrent_runs: 256}\n")}),
    Case("fair-connections", connections),
]
