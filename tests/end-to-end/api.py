"""The API under `cargo lambda watch`, and a client for it."""

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

# Seconds. Most waits end within seconds; a busy machine may take longer.
TIMEOUT_SECONDS = 120


def until(condition, what, seconds=TIMEOUT_SECONDS):
    """Polls `condition` until it returns a true value, and returns this value."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.2)
    return value


class Api:
    def __init__(self, url, key):
        self.url, self.key = url, key

    def request(self, method, path, app="echo", key=None, headers=None, **more):
        headers = {"Host": f"{app}.localhost", "Authorization": f"Bearer {key or self.key}"} | (headers or {})
        return requests.request(method, self.url + path, headers=headers, timeout=(10, TIMEOUT_SECONDS), **more)

    def create(self, input, app="echo", **more):
        """Creates a run, and returns it as in the response: ended, or just created with `background`."""
        answer = self.request("POST", "/v1/runs", app, json={"input": input} | more)
        assert answer.status_code == (202 if more.get("background") else 200), answer.text
        return answer.json()["data"]

    def get(self, run, app="echo"):
        answer = self.request("GET", f"/v1/runs/{run}", app)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def ended(self, run, app="echo", seconds=TIMEOUT_SECONDS):
        """Waits until the run has ended, and returns it."""
        def terminal():
            found = self.get(run, app)
            return found if found["status"] in TERMINAL else None

        return until(terminal, f"the run {run} ends", seconds)

    def cancel(self, run, app="echo"):
        answer = self.request("POST", f"/v1/runs/{run}/cancel", app)
        assert (answer.status_code, answer.json()) == (200, {"message": "canceled"}), answer.text

    def log(self, run, app="echo"):
        """Returns the stored events; checks that their sequence has no gap."""
        answer = self.request("GET", f"/v1/runs/{run}/events?page_size=100&sort=sequence", app)
        assert answer.status_code == 200, answer.text
        events = answer.json()["data"]
        assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
        return events

    @contextlib.contextmanager
    def stream(self, input, app="echo"):
        """Creates a run with `stream`; returns its id, and its events as they arrive."""
        with self.request("POST", "/v1/runs", app, json={"input": input, "stream": True}, stream=True) as answer:
            assert answer.status_code == 200, answer.text
            yield answer.headers["location"].rsplit("/", 1)[1], events(answer)

    def follow(self, run, app="echo", after=None):
        """Follows an existing run; returns its events as they arrive."""
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        with self.request("GET", f"/v1/runs/{run}/stream", app, headers=headers, stream=True) as answer:
            assert answer.status_code == 200, answer.text
            yield from events(answer)


def events(answer):
    """Returns the events of a stream. Reads byte by byte, so that no event is delayed until the next one."""
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
    """Returns the types of the events, in order."""
    return [event["type"] for event in events]


def on_the_stack(cloud):
    """Returns the environment of the stack's streaming function."""
    return cloud.variables("Stream") | {"RUNYARD_BACKEND": "aws"}


@contextlib.contextmanager
def watched(variables, key, log, command, arguments=()):
    """Runs `cargo lambda watch` with these variables, and returns a client. `command`: cargo-lambda."""
    port = ministack.free_port()
    watch = [command, "lambda", "watch", "-A", "127.0.0.1", "-P", str(port), "--ignore-changes", "--concurrency", "6", *arguments]
    with open(log, "w") as log:
        process = subprocess.Popen(watch, env=os.environ | variables, stdout=log, stderr=log, cwd=ROOT, start_new_session=True)
        try:
            api = Api(f"http://127.0.0.1:{port}/lambda-url/api", key)
            until(lambda: answers(api, process), "the API answers", 600)
            yield api
        finally:
            # The whole process group: also cargo and the function.
            os.killpg(process.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)


def answers(api, process):
    assert process.poll() is None, "cargo lambda watch ended"
    try:
        return api.request("GET", "/readyz").status_code == 200
    except requests.RequestException:
        return False
