"""Callers without a key: they can only create runs, follow them, and cancel those that were created without a key."""

import collections
import concurrent.futures
import http.client
import json
import uuid

from case import LIMITS, Case
from workflows import ECHO, single

PUBLIC = LIMITS + "public: true\n"
ASK = single(
    "tools.Python",
    'approval: {enabled: true, msg_template: "Pay {{ input_data.amount }}?"}\ncode: |\n  def run(d):\n      return d\n',
)


def anonymous_callers_cannot_approve(world):
    server = world.server
    for creator in (None, world.attacker):
        run = server.run("public-ask", creator, {"amount": 10_000})
        request = run["input_requests"][0]
        answer = {"type": "approval", "data": {"request_id": request["id"], "approved": True}}
        path = f"/v1/runs/{run['id']}"
        status, _, body = server.request("POST", f"{path}/input", answer, app="public-ask")
        assert status == 401, (creator, status, body)
        status, _, body = server.request("POST", f"{path}/cancel", b"", app="public-ask")
        assert status == (200 if creator is None else 401), (creator, status, body)
        assert server.request("POST", f"{path}/retry", b"", app="public-ask")[0] == 401
        assert server.cancel("public-ask", world.attacker, run["id"]) == 200


def ids_are_secrets(world):
    """An id does not reveal other ids of the same millisecond."""

    def create(_):
        connection = http.client.HTTPConnection(world.server.host, world.server.port)
        ids = []
        for _ in range(60):
            headers = {"Host": "public-echo.localhost", "Content-Type": "application/json"}
            connection.request("POST", "/v1/runs", b'{"input":{},"background":true}', headers)
            ids.append(json.loads(connection.getresponse().read())["data"]["id"])
        connection.close()
        return ids

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        ids = [uuid.UUID(run).int for found in pool.map(create, range(12)) for run in found]
    by_millisecond = collections.defaultdict(list)
    for run in ids:
        random = ((run >> 64) & 0xFFF) << 62 | run & ((1 << 62) - 1)
        by_millisecond[run >> 80].append(random)
    pairs = near = 0
    for found in by_millisecond.values():
        found.sort()
        for one, other in zip(found, found[1:]):
            pairs += 1
            near += other - one < 1 << 56
    assert near == 0, f"{near} of {pairs} adjacent ids of one millisecond are close to each other"


def keys_are_not_shared(world):
    """An idempotency key does not give access to another anonymous caller's run."""
    headers = {"Idempotency-Key": "order-1"}
    body = {"input": {"secret": "of the first"}}
    _, _, first = world.server.request("POST", "/v1/runs", body, app="public-echo", headers=headers)
    status, answered, second = world.server.request("POST", "/v1/runs", body, app="public-echo", headers=headers)
    if status == 200:
        assert second["data"]["id"] != first["data"]["id"], "the second caller got the first one's run"
        assert "idempotency-replayed" not in answered
    else:
        assert status in (400, 401, 422), (status, second)


CASES = [
    Case("public-nobody-approves", anonymous_callers_cannot_approve, {"public-ask": (ASK, PUBLIC)}),
    Case("public-ids", ids_are_secrets, {"public-echo": (ECHO, PUBLIC)}),
    Case("public-idempotency", keys_are_not_shared, {"public-echo": (ECHO, PUBLIC)}),
]
