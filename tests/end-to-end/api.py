"""The API under `cargo lambda watch`, and a client of it."""

import contextlib
import json
import os
import signal
import subprocess
import time

import ministack
import requests
from stack import ROOT

TERMINAL = ("completed", "failed", "canceled")

# Everything that is waited for happens within seconds; a machine that is busy gets a minute or two.
PATIENCE = 120


def until(look, what, seconds=PATIENCE):
    """What `look` gives as soon as it gives something."""
    end = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < end, f"in {seconds} s it did not happen that {what}"
        time.sleep(0.2)
    return seen


class Api:
    def __init__(self, url, key):
        self.url, self.key = url, key

    def ask(self, method, path, app="echo", key=None, headers=None, **more):
        headers = {"Host": f"{app}.localhost", "Authorization": f"Bearer {key or self.key}"} | (headers or {})
        return requests.request(method, self.url + path, headers=headers, timeout=(10, PATIENCE), **more)

    def create(self, input, app="echo", **more):
        """A run, as it is answered: ended, or in the background just made."""
        answer = self.ask("POST", "/v1/runs", app, json={"input": input} | more)
        assert answer.status_code == (202 if more.get("background") else 200), answer.text
        return answer.json()["data"]

    def look(self, run, app="echo"):
        answer = self.ask("GET", f"/v1/runs/{run}", app)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def ended(self, run, app="echo", seconds=PATIENCE):
        """The run, once it has ended."""
        def look():
            seen = self.look(run, app)
            return seen if seen["status"] in TERMINAL else None

        return until(look, f"the run {run} ends", seconds)

    def cancel(self, run, app="echo"):
        answer = self.ask("POST", f"/v1/runs/{run}/cancel", app)
        assert (answer.status_code, answer.json()) == (200, {"message": "canceled"}), answer.text

    def log(self, run, app="echo"):
        """The stored events, whose sequence has no gap."""
        answer = self.ask("GET", f"/v1/runs/{run}/events?page_size=100&sort=sequence", app)
        assert answer.status_code == 200, answer.text
        events = answer.json()["data"]
        assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
        return events

    @contextlib.contextmanager
    def stream(self, input, app="echo"):
        """A run and its events, as they come."""
        with self.ask("POST", "/v1/runs", app, json={"input": input, "stream": True}, stream=True) as answer:
            assert answer.status_code == 200, answer.text
            yield answer.headers["location"].rsplit("/", 1)[1], events(answer)

    def follow(self, run, app="echo", after=None):
        """The events of a run that there is, as they come."""
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        with self.ask("GET", f"/v1/runs/{run}/stream", app, headers=headers, stream=True) as answer:
            assert answer.status_code == 200, answer.text
            yield from events(answer)


def events(answer):
    """The events of a stream. It is read byte by byte, so that none waits for the next."""
    assert answer.headers["content-type"].startswith("text/event-stream"), answer.headers
    fields = {}
    for line in answer.iter_lines(chunk_size=1):
        name, _, value = line.decode().partition(": ")
        if name:
            fields[name] = value
        elif fields:
            event = json.loads(fields["data"])
            assert (fields["id"], fields["event"]) == (str(event["sequence"]), event["type"]), fields
            fields = {}
            yield event


def types(events):
    """What happened, in order."""
    return [event["type"] for event in events]


def on_the_stack(cloud):
    """The environment that the stack gives to its streaming function."""
    return cloud.variables("Stream") | {"RUNYARD_BACKEND": "aws"}


@contextlib.contextmanager
def watched(variables, key, log, command, arguments=()):
    """`cargo lambda watch` in this environment. `command`: cargo-lambda."""
    port = ministack.free_port()
    watch = [command, "lambda", "watch", "-A", "127.0.0.1", "-P", str(port), "--ignore-changes", "--concurrency", "6", *arguments]
    with open(log, "w") as log:
        process = subprocess.Popen(watch, env=os.environ | variables, stdout=log, stderr=log, cwd=ROOT, start_new_session=True)
        try:
            api = Api(f"http://127.0.0.1:{port}/lambda-url/api", key)
            until(lambda: answers(api, process), "the API answers", 600)
            yield api
        finally:
            # It and what it started: cargo, and the function.
            os.killpg(process.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)


def answers(api, process):
    assert process.poll() is None, "cargo lambda watch ended"
    try:
        return api.ask("GET", "/readyz").status_code == 200
    except requests.RequestException:
        return False
