"""Runs the collection, and exits with an error if a case failed."""

import os
import sys
import time
import traceback

import server
from server import ATTACKER, FOLDER, VICTIM, Server, Watcher, fresh, write_app
from workflows import ECHO

import compute
import fairness
import files
import loading
import memory
import outside
import people
import public
import quota
import secrets_kept
import small

GROUPS = [compute, files, memory, loading, people, public, secrets_kept, fairness, quota, small]
# Seconds. A server that hangs does so for many seconds. CI's machines are slow and its build is not optimized, so the
# limit is generous; the measured times are printed, and docs/figures.md has those of a release build.
MAX_ANSWER_SECONDS = 8.0


class World:
    """The server that all cases share, and a key of each organization."""

    def __init__(self, apps):
        root = fresh(os.path.join(FOLDER, "shared"))
        folder = os.path.join(root, "apps")
        write_app(folder, "bystander", ECHO, VICTIM)
        for name, (workflow, extra) in apps.items():
            write_app(folder, name, workflow, extra=extra)
        self.apps = folder
        # The server's count of memory is an estimate: clients that read nothing took up to twice as much.
        self.server = Server("shared", folder, arguments=("--memory-mib", "256"))
        self.attacker = self.server.key(ATTACKER)
        self.victim = self.server.key(VICTIM)


def main():
    wanted = sys.argv[1:]
    cases = [case for group in GROUPS for case in group.CASES]
    if wanted:
        cases = [case for case in cases if any(name in case.name for name in wanted)]
    if not cases:
        sys.exit("no such case")
    apps = {name: app for case in cases for name, app in case.apps.items()}
    fresh(FOLDER)
    world = World(apps)
    failures = []
    slowest = {"health": 0.0, "echo": 0.0}
    started = time.monotonic()
    for case in cases:
        began = time.monotonic()
        watcher = Watcher(world.server, world.victim) if case.is_watched else None
        if watcher:
            watcher.start()
        problem = None
        try:
            case.check(world)
        except AssertionError as error:
            problem = str(error)[:1500] or traceback.format_exc()
        except Exception:
            problem = traceback.format_exc()
        if watcher:
            watcher.stop()
            for name in slowest:
                slowest[name] = max([slowest[name], *getattr(watcher, name)])
            late = max([0.0, *watcher.health, *watcher.echo])
            if problem is None and (watcher.failures or late > MAX_ANSWER_SECONDS):
                problem = f"others waited {late:.2f} s, {watcher.failures[:3]}"
        if not world.server.alive():
            code = world.server.process.returncode
            problem = f"{problem or ''}\nthe server ended with {code}: {world.server.logs()[-1000:]}"
            world.server.start()
        print(f"{'FAILED' if problem else 'ok':6} {time.monotonic() - began:6.1f} s  {case.name}", flush=True)
        if problem:
            failures.append(case.name)
            print("       " + problem.strip().replace("\n", "\n       "), flush=True)
    peak = world.server.status("VmHWM")
    ended_after = world.server.stop()
    if world.server.process.returncode != 0:
        failures.append(f"the server's exit: {world.server.process.returncode}")
    print(
        f"{len(cases)} cases in {time.monotonic() - started:.0f} s, {len(failures)} failed; the slowest /healthz took "
        f"{slowest['health'] * 1000:.0f} ms, the slowest echo of another organization {slowest['echo'] * 1000:.0f} ms; "
        f"{peak} MiB resident at most; SIGTERM took {ended_after:.1f} s"
    )
    if failures:
        sys.exit("failed: " + ", ".join(failures))


if __name__ == "__main__":
    main()
