"""Approvals: the approved values are those that are executed."""

from case import LIMITS, Case
from workflows import workflow

PAY = """type: dynamiq.nodes.tools.Python
depends: [{node: decide}]
input_transformer: {selector: {amount: $.decide.output.content.amount, to: $.decide.output.content.to}}
approval: {enabled: true, msg_template: "Pay {{ input_data.amount }} to {{ input_data.to }}?", mutable_data_params: [amount]}
code: |
  def run(d):
      return "PAID %s to %s" % (d["amount"], d["to"])
"""
DECIDE = """type: dynamiq.nodes.tools.Python
depends: [{node: input}]
input_transformer: {path: $.input.output}
code: |
  def run(d):
      return {"amount": 10000, "to": "attacker"}
"""


def approved_is_executed(world):
    server, key = world.server, world.attacker
    for params, executed in (({}, "PAID 10000 to attacker"), ({"amount": 1}, "PAID 1 to attacker")):
        run = server.run("pay", key, {"amount": 5, "to": "my mother"})
        request = run["input_requests"][0]
        assert "10000" in request["prompt"] and "attacker" in request["prompt"], request
        answer = {"type": "approval", "data": {"request_id": request["id"], "approved": True, "params": params}}
        status, _, body = server.request("POST", f"/v1/runs/{run['id']}/input", answer, app="pay", key=key)
        assert status == 200, body
        ended = server.wait("pay", key, run["id"])
        assert executed in str(ended["output"]), ended
        _, _, events = server.request("GET", f"/v1/runs/{run['id']}/events?page_size=100", app="pay", key=key)
        received = [event["data"] for event in events["data"] if event["type"] == "input.received"]
        assert received and received[0].get("approved") is True, received


CASES = [
    Case(
        "approved-is-executed",
        approved_is_executed,
        {"pay": (workflow([("decide", DECIDE), ("pay", PAY)]), LIMITS)},
    ),
]
