"""Strangers who fill the disk."""

import concurrent.futures

from case import Case
from server import multipart
from workflows import ECHO

MIB = 1 << 20
LIMITS = "public: true\nlimits: {run_seconds: 120, concurrent_runs: 50, stored_bytes: 4194304}\n"


def fill(world):
    """A caller without a key fills an app, which is then refused, and no other."""
    server, app = world.server, "quota"
    pad = "x" * (200 << 10)
    for _ in range(200):
        run = server.run(app, None, {"pad": pad})
        if run["status"] == "refused":
            break
    refused(run)
    body, headers = multipart({"input": "{}"}, [("x", b"x" * MIB)])
    for key in (None, world.attacker):
        status, answered, answer = server.request("POST", "/v1/runs", body, app=app, key=key, headers=headers)
        refused({"http": status, **answer})
        assert answered["retry-after"] == "3600", answered
    assert server.run("bystander", world.victim, {"a": 1})["status"] == "completed"
    assert server.run("quota-beside", world.attacker, {"a": 1})["status"] == "completed"


def uploads(world):
    """Uploads at the same time share what is left: together they store no more than that."""
    server, app = world.server, "quota-files"
    body, headers = multipart({}, [("x", b"x" * (900 << 10))], part="file")

    def upload(_):
        return server.request("POST", "/v1/files", body, app=app, key=world.attacker, headers=headers)

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(upload, range(32)))
    stored = [status for status, _, _ in answers if status == 200]
    assert 1 <= len(stored) <= 4, [status for status, _, _ in answers]
    for status, _, answer in answers:
        if status != 200:
            refused({"http": status, **answer})


def refused(run):
    details = run.get("error", {}).get("details", {})
    assert run.get("http") == 429 and "limits.stored_bytes" in details, str(run)[:400]


CASES = [
    Case("quota-runs", fill, {"quota": (ECHO, LIMITS), "quota-beside": (ECHO, LIMITS)}),
    Case("quota-files", uploads, {"quota-files": (ECHO, LIMITS)}),
]
