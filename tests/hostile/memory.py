"""Requests and runs that take more memory than their size suggests."""

import concurrent.futures
import functools
import json
import socket
import time

from case import LIMITS, Case
from server import multipart
from workflows import ECHO, node, single, workflow

PUBLIC = LIMITS + "public: true\n"
MAP = single("operators.Map", "max_workers: 16\nnode: {type: dynamiq.nodes.operators.Pass}\n")


def concurrently(calls):
    """Runs these calls at the same time; raises the error of one that failed."""
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        for future in [pool.submit(call) for call in calls]:
            future.result()


def answers_of(world, app, bodies, headers=None):
    """The statuses that anonymous callers get when they send these bodies at the same time."""
    statuses = []

    def send(body):
        status, _, answer = world.server.request("POST", "/v1/runs", body, app=app, headers=headers, timeout=120)
        statuses.append(status)

    concurrently([functools.partial(send, body) for body in bodies])
    return statuses


def many_values(name, item, around=b'{"input":{"a":[%s]}}'):
    """4 MiB of JSON that is mostly structure is refused, or takes little memory."""

    def check(world):
        count = ((4 << 20) - 100) // (len(item) + 1)
        body = around % b",".join([item] * count)
        before = world.server.status("VmRSS")
        statuses = answers_of(world, "public", [body])
        assert set(statuses) <= {200, 400, 413, 503}, statuses
        statuses = answers_of(world, "public", [body] * 8)
        assert set(statuses) <= {200, 400, 413, 503}, statuses
        grown = world.server.status("VmRSS") - before
        assert grown < 400, f"{grown} MiB more after 8 concurrent requests"

    return Case(name, check, {"public": (ECHO, PUBLIC)})


def multipart_values():
    def check(world):
        value = json.dumps({"a": [{"a": 1}] * 400_000}).replace(" ", "")
        body, headers = multipart({"input": value}, [("x.txt", b"x")])
        statuses = answers_of(world, "public", [body] * 4, headers)
        assert set(statuses) <= {200, 400, 413, 503}, statuses

    return Case("values-multipart", check, {"public": (ECHO, PUBLIC)})


def deep_pages():
    """A page of one event reads one event, regardless of the log's length."""

    def check(world):
        server = world.server
        run = server.start_run("map", world.attacker, {"input": [{}] * 40_000})
        server.wait("map", world.attacker, run, 120)
        before = server.status("VmHWM")

        def read_page():
            status, _, answer = server.request(
                "GET", f"/v1/runs/{run}/events?page_size=1", app="map", key=world.attacker, timeout=60
            )
            assert status == 200 and len(answer["data"]) == 1, (status, answer)

        concurrently([read_page] * 12)
        grown = server.status("VmHWM") - before
        assert grown < 100, f"{grown} MiB more for 12 pages of one event"

    return Case("events-page", check, {"map": (MAP, LIMITS)})


def large_pages():
    """Lists of large runs."""

    def check(world):
        server = world.server
        text = "x" * (2 << 20)
        for _ in range(24):
            assert server.run("large", world.attacker, {"text": text})["status"] == "completed"
        before = server.status("VmHWM")

        def read_page():
            path = "/v1/runs?page_size=100"
            status, _, answer = server.request("GET", path, app="large", key=world.attacker)
            assert status in (200, 400), status
            if status == 400:
                assert "page_size" in json.dumps(answer), answer

        concurrently([read_page] * 12)
        grown = server.status("VmHWM") - before
        assert grown < 500, f"{grown} MiB more for 12 lists"

    return Case("list-bytes", check, {"large": (ECHO, LIMITS)})


def slow_readers():
    """Clients that request large responses and do not read them."""

    def check(world):
        server = world.server
        run = server.run("large", world.attacker, {"text": "x" * (3 << 20)})["id"]
        before = server.status("VmRSS")
        sockets = []
        for path in ("", "/stream", "/events"):
            for _ in range(60):
                connection = socket.create_connection((server.host, server.port))
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                head = f"GET /v1/runs/{run}{path} HTTP/1.1\r\nHost: large.localhost\r\n"
                connection.sendall(f"{head}Authorization: Bearer {world.attacker}\r\n\r\n".encode())
                sockets.append(connection)
        time.sleep(5)
        grown = server.status("VmRSS") - before
        [connection.close() for connection in sockets]
        assert grown < 500, f"{grown} MiB more for 180 clients that read nothing"

    return Case("slow-readers", check, {"large": (ECHO, LIMITS)})


def large_output():
    """Code with a result that takes much more memory than its JSON text."""

    def check(world):
        run = world.server.start_run("python-values", world.attacker, {})
        ended = world.server.wait("python-values", world.attacker, run)
        assert ended["status"] in ("failed", "completed"), ended

    text = "code: |\n  def run(d):\n      return [[0] * 1000 for _ in range(1500)]\n"
    return Case("python-values", check, {"python-values": (single("tools.Python", text), LIMITS)})


def passed_along():
    """A large input that many nodes pass on."""
    nodes = [("n0", node("operators.Pass"))]
    for number in range(1, 40):
        body = node("operators.Pass", transformer=f"path: $.n{number - 1}.output")
        nodes.append((f"n{number}", body.replace("node: input", f"node: n{number - 1}")))

    def check(world):
        before = world.server.status("VmHWM")
        run = world.server.start_run("passed-along", world.attacker, {"text": "x" * (3 << 20)})
        ended = world.server.wait("passed-along", world.attacker, run, 120)
        assert ended["status"] in ("completed", "failed"), ended
        grown = world.server.status("VmHWM") - before
        assert grown < 700, f"{grown} MiB more"

    return Case("passed-along", check, {"passed-along": (workflow(nodes), LIMITS)})


CASES = [
    many_values("values-objects", b'{"a":1}'),
    many_values("values-arrays", b"[]"),
    many_values("values-empty-objects", b"{}"),
    many_values("values-numbers", b"1"),
    many_values("values-texts", b'""'),
    many_values("values-keys", b'"k":0', b'{"input":{"a":{%s}}}'),
    many_values("values-metadata", b'"k"', b'{"input":{},"file_ids":[%s]}'),
    multipart_values(),
    deep_pages(),
    large_pages(),
    slow_readers(),
    large_output(),
    passed_along(),
]
