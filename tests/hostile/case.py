"""Cases of the collection."""

import dataclasses
import os
import typing


@dataclasses.dataclass
class Case:
    """Something hostile, and the check of how the server handles it."""

    name: str
    # Raises AssertionError if the server handles it wrongly.
    check: typing.Callable
    # Apps by name: the workflow file, and additional lines of app.yaml.
    apps: dict = dataclasses.field(default_factory=dict)
    # Whether the service of another organization is measured during the case.
    is_watched: bool = True


LIMITS = "limits: {run_seconds: 120, concurrent_runs: 50}\n"


def ends_with_a_limit(name, workflow, data=None, attached=None, count=1):
    """Runs of this workflow fail with `limit_exceeded`."""

    def check(world):
        run_all(world, name, data, attached, count, lambda run: is_limit(run))

    return Case(name, check, {name: (workflow, LIMITS)})


def ends(name, workflow, data=None, attached=None, count=1):
    """Runs of this workflow complete or fail."""

    def check(world):
        run_all(world, name, data, attached, count, lambda run: run["status"] in ("completed", "failed"))

    return Case(name, check, {name: (workflow, LIMITS)})


def fails(name, workflow, data=None):
    """Runs of this workflow fail, for any reason: depth, steps or memory."""

    def check(world):
        run_all(world, name, data, None, 1, lambda run: run["status"] == "failed")

    return Case(name, check, {name: (workflow, LIMITS)})


def is_limit(run):
    error = run.get("error") or {}
    return run["status"] == "failed" and error.get("code") == "limit_exceeded"


def run_all(world, app, data, attached, count, is_expected):
    server = world.server
    runs = [server.start_run(app, world.attacker, data or {}, attached) for _ in range(count)]
    try:
        ended = [server.wait(app, world.attacker, run) for run in runs]
    finally:
        for run in runs:
            if server.alive():
                server.cancel(app, world.attacker, run)
    for run in ended:
        if os.environ.get("VERBOSE"):
            print("      ", app, run["status"], str(run.get("error") or run.get("output"))[:160])
        shown = {key: str(run.get(key))[:400] for key in ("status", "error", "output")}
        assert is_expected(run), shown
