#!/usr/bin/env python3
"""Computes what a million runs cost on AWS, by mode, and writes the table into docs/operate.md.

    docs/figures/costs.py            writes it
    docs/figures/costs.py --check    fails if it is not current

Requests and capacity units come from docs/figures/aws-requests.json, which `shared/aws`'s benchmark prints; prices from
docs/figures/aws-prices.json; what neither can know stands below, as an assumption.
"""

import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
DOCUMENT = HERE.parent / "operate.md"
PLACE = re.compile(r"(?<=<!-- costs -->\n).*?(?=<!-- /costs -->)", re.DOTALL)
MILLION = 1_000_000
GB = 1024**3

# The template's defaults.
MEMORY_GB = 0.5
BATCH = 5
# Not measured on AWS.
ECHO_SECONDS = 0.05
CONTROL_SECONDS = 0.02
# Bytes: a line of the access log, what Lambda logs of an invocation, a line of metrics.
ACCESS_LINE, PLATFORM_LINES, METRIC_LINE = 700, 900, 450
# Bytes that go out: a run as JSON, an event of a stream.
RUN_OUT, EVENT_OUT = 1200, 260
DELTAS_A_MINUTE = 3000
# Sweeps a month, pollers of an idle mapping with MaximumConcurrency, metrics that code and alarms of the template have.
MINUTES = 43_800
POLLERS, POLL_SECONDS = 5, 20
CUSTOM_METRICS, ALARM_METRICS = 9, 23


# Without the benchmark's figures: the budget of requests. A request that writes is taken as a transaction on three
# items under 1 KiB with two index entries: 3 x 2 + 2 units; an entry of a log as one item; a read as one unit.
BUDGET = {
    "sync": {"write_units": 2 * 8, "read_units": 0, "messages": 0},
    "background": {"write_units": 3 * 8, "read_units": 0, "messages": 1},
    "stream_minute": {"write_units": 2 * 8 + 618, "read_units": 0, "messages": 0},
    "get": {"write_units": 0, "read_units": 1, "messages": 0},
}


def counts():
    """Units by operation, and where they come from."""
    file = HERE / "aws-requests.json"
    if not file.exists():
        return BUDGET, "the budget of requests that the AWS backend was built to; not measured"
    return json.loads(file.read_text())["operations"], "counted by the benchmark of `shared/aws` (docs/figures/aws-requests.json)"


class Bill:
    """What one run uses, line by line."""

    def __init__(self):
        self.used = {}

    def add(self, line, quantity):
        self.used[line] = self.used.get(line, 0) + quantity
        return self

    def call(self, operation, *, requests=1, seconds=0.0, out=0, metrics=0):
        """A request through the gateway to a function that runs for so long."""
        self.add("api_request", requests).add("gb_out", out / GB)
        self.invoke(seconds, metrics).add("log_gb", ACCESS_LINE / GB)
        return self.units(operation) if operation else self

    def invoke(self, seconds, metrics=0, share=1.0):
        self.add("function_request", share).add("gb_second", seconds * MEMORY_GB)
        return self.add("log_gb", (PLATFORM_LINES * share + METRIC_LINE * metrics) / GB)

    def units(self, operation):
        given = counts()[0][operation]
        self.add("write_unit", given["write_units"]).add("read_unit", given["read_units"])
        # Sent one by one; received and deleted by Lambda in batches.
        return self.add("queue_request", given["messages"] * (1 + 2 / BATCH))


def workloads():
    """A run of each mode."""
    minute, watched = 60.0, DELTAS_A_MINUTE * EVENT_OUT
    yield "sync, `echo`", Bill().call("sync", seconds=ECHO_SECONDS, out=RUN_OUT, metrics=2)
    background = Bill().call("background", seconds=CONTROL_SECONDS, out=RUN_OUT).invoke(ECHO_SECONDS, metrics=2, share=1 / BATCH)
    yield "background, `echo`, and one look at the result", background.call("get", seconds=CONTROL_SECONDS, out=RUN_OUT)
    yield "stream, one minute, 3,000 deltas", Bill().call("stream_minute", seconds=minute, out=watched, metrics=2)
    followed = Bill().call("background", seconds=CONTROL_SECONDS, out=RUN_OUT).invoke(minute, metrics=2, share=1 / BATCH)
    followed.add("write_unit", counts()[0]["stream_minute"]["write_units"] - counts()[0]["sync"]["write_units"])
    # A follower looks once a second while it has nothing, and reads the log as it grows.
    yield "the same in the background, watched to its end", followed.call(None, seconds=minute, out=watched).add("read_unit", minute * 2)


def prices():
    return json.loads((HERE / "aws-prices.json").read_text())


def dollars(line, quantity):
    price = prices()["usd"][line]
    return quantity * price["price"] / price["per"]


COLUMNS = {
    "gateway": ("api_request",),
    "Lambda requests": ("function_request",),
    "Lambda, held open": ("gb_second",),
    "DynamoDB": ("write_unit", "read_unit"),
    "SQS": ("queue_request",),
    "logs": ("log_gb",),
    "data out": ("gb_out",),
}


def table():
    lines = [
        f"| a million runs, in US dollars | {' | '.join(COLUMNS)} | total |",
        f"| --- | {' | '.join('---:' for _ in COLUMNS)} | ---: |",
    ]
    for name, bill in workloads():
        cells = [sum(dollars(line, bill.used.get(line, 0) * MILLION) for line in of) for of in COLUMNS.values()]
        lines.append(f"| {name} | {' | '.join(f'{cell:,.2f}' for cell in cells)} | **{sum(cells):,.2f}** |")
    second = dollars("gb_second", MEMORY_GB * MILLION)
    idle = {
        "sweeps": dollars("function_request", MINUTES) + dollars("gb_second", MINUTES * CONTROL_SECONDS * 5 * MEMORY_GB)
        + dollars("read_unit", MINUTES * 2),
        "polling": dollars("idle_receive", POLLERS * MINUTES * 60 / POLL_SECONDS),
        "metrics": dollars("metric_month", CUSTOM_METRICS),
        "alarms": dollars("alarm_metric_month", ALARM_METRICS),
    }
    given = prices()
    lines += [
        "",
        f"Each further second that a million runs execute, or that a million streams are open, costs **${second:,.2f}** at 512 MB. A run that",
        "waits for a person costs nothing while it waits; a stream that watches it is closed after 60 s.",
        "",
        f"A stack that nobody calls costs ${sum(idle.values()):,.2f} a month: "
        + ", ".join(f"{name} ${cost:,.2f}" for name, cost in idle.items()) + ".",
        "",
        f"Units: {counts()[1]}. Assumed, as nothing was measured on AWS: {ECHO_SECONDS * 1000:.0f} ms billed for `echo`, "
        f"{CONTROL_SECONDS * 1000:.0f} ms for a request that executes nothing; {BATCH} messages a batch; "
        f"{ACCESS_LINE + PLATFORM_LINES} bytes of log a request and {METRIC_LINE} a line of metrics; {EVENT_OUT} bytes an event of a stream.",
        "",
        f"Prices of {given['region']}, read on {given['read']} in stored copies of the pages named:",
        "",
        "| price | | source |",
        "| ---: | --- | --- |",
    ]
    for price in given["usd"].values():
        per = " a million" if price["per"] == MILLION else ""
        lines.append(f"| ${price['price']:g}{per} | {price['what']} | {price['source']} |")
    lines += ["", "Not in it, for want of a price with a source: " + "; ".join(given["without_a_source"]) + "."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    current = PLACE.sub(lambda _: table(), DOCUMENT.read_text())
    if "--check" in sys.argv:
        sys.exit(0 if current == DOCUMENT.read_text() else "docs/operate.md is not current: run docs/figures/costs.py")
    DOCUMENT.write_text(current)
