#!/usr/bin/env python3
"""Computes what a million runs cost on AWS, by mode, and writes the table into docs/operate.md.

    docs/figures/costs.py            writes it
    docs/figures/costs.py --check    fails if it is not current
    cargo bench -p runyard-aws --bench requests >writes
    RUNYARD_TEST_DYNAMODB=local cargo bench -p runyard-aws --bench requests >reads
    docs/figures/costs.py --counts writes reads
                                     takes new counts, then writes it

Requests and capacity units come from docs/figures/aws-requests.json, as `shared/aws`'s benchmark counted them: units of writes
on ministack, which counts transactions as AWS documents, units of reads on AWS's own DynamoDB Local, which counts pages. Prices
come from docs/figures/aws-prices.json; what neither can know stands below, as an assumption.
"""

import datetime
import json
import pathlib
import re
import sys
import textwrap

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
# Sweeps a month, pollers of an idle mapping with MaximumConcurrency, queries of a sweep, metrics that code and alarms of the
# template have.
MINUTES = 43_800
POLLERS, POLL_SECONDS = 5, 20
DUE_SHARDS = 8
CUSTOM_METRICS, ALARM_METRICS = 9, 23


COUNTS = HERE / "aws-requests.json"
ROW = re.compile(r"^(\S.*?)\s{2,}" + r"\s+".join([r"(\d+\.\d+)"] * 5) + r"\s*$", re.MULTILINE)
KEYS = ("writes", "reads", "messages", "write_units", "read_units")


def read_counts(text):
    """The benchmark's table, by row."""
    found = {name: dict(zip(KEYS, map(float, numbers))) for name, *numbers in ROW.findall(text)}
    for name in ("sync echo", "background echo", "get", "next page of 25", "a minute of 3,000 deltas"):
        if name not in found:
            sys.exit(f"there is no row `{name}` in what was given: give what the benchmark prints")
    return found


def counts():
    """Units by operation."""
    return json.loads(COUNTS.read_text())["operations"]


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
        given = counts()[operation]
        self.add("write_unit", given["write_units"]).add("read_unit", given["read_units"])
        # Sent one by one; received and deleted by Lambda in batches.
        return self.add("queue_request", given["messages"] * (1 + 2 / BATCH))


def workloads():
    """A run of each mode."""
    minute, watched = 60.0, DELTAS_A_MINUTE * EVENT_OUT
    yield "sync, `echo`", Bill().call("sync echo", seconds=ECHO_SECONDS, out=RUN_OUT, metrics=2)
    background = Bill().call("background echo", seconds=CONTROL_SECONDS, out=RUN_OUT).invoke(ECHO_SECONDS, metrics=2, share=1 / BATCH)
    yield "background, `echo`, and one look at the result", background.call("get", seconds=CONTROL_SECONDS, out=RUN_OUT)
    yield "stream, one minute, 3,000 deltas", Bill().call("a minute of 3,000 deltas", seconds=minute, out=watched, metrics=2)
    followed = Bill().call("background echo", seconds=CONTROL_SECONDS, out=RUN_OUT).invoke(minute, metrics=2, share=1 / BATCH)
    # Beyond what `echo` writes; and a follower who looks each second, and reads what was written since.
    deltas, echo = counts()["a minute of 3,000 deltas"], counts()["sync echo"]
    followed.add("write_unit", deltas["write_units"] - echo["write_units"]).add("read_unit", deltas["read_units"])
    yield "the same in the background, watched to its end", followed.call(None, seconds=minute, out=watched).add("read_unit", minute)
    yield "no run: a page of 25 of the list", Bill().call("next page of 25", seconds=CONTROL_SECONDS * 2, out=25 * RUN_OUT)


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


def prose(text):
    """Lines of a paragraph, or of an item of a list."""
    return textwrap.wrap(text, 116, subsequent_indent="  " if text.startswith("- ") else "", break_on_hyphens=False)


def table():
    lines = [
        f"| a million of each, in US dollars | {' | '.join(COLUMNS)} | total |",
        f"| --- | {' | '.join('---:' for _ in COLUMNS)} | ---: |",
    ]
    for name, bill in workloads():
        cells = [sum(dollars(line, bill.used.get(line, 0) * MILLION) for line in of) for of in COLUMNS.values()]
        lines.append(f"| {name} | {' | '.join(f'{cell:,.2f}' for cell in cells)} | **{sum(cells):,.2f}** |")
    second = dollars("gb_second", MEMORY_GB * MILLION)
    idle = {
        "sweeps": dollars("function_request", MINUTES) + dollars("gb_second", MINUTES * CONTROL_SECONDS * 5 * MEMORY_GB)
        + dollars("read_unit", MINUTES * DUE_SHARDS / 2),
        "polling": dollars("idle_receive", POLLERS * MINUTES * 60 / POLL_SECONDS),
        "metrics": dollars("metric_month", CUSTOM_METRICS),
        "alarms": dollars("alarm_metric_month", ALARM_METRICS),
    }
    given = prices()
    counted = json.loads(COUNTS.read_text())["counted"]
    lines += [
        "",
        *prose(
            f"Each further second that a million runs execute, or that a million streams are open, costs **${second:,.2f}** at "
            "512 MB. A run that waits for a person costs nothing while it waits; a stream that watches it is closed after 60 s."
        ),
        "",
        *prose(
            f"A stack that nobody calls costs ${sum(idle.values()):,.2f} a month: "
            + ", ".join(f"{name} ${cost:,.2f}" for name, cost in idle.items()) + "."
        ),
        "",
        *prose(
            f"Requests and units are counted: by `cargo bench -p runyard-aws --bench requests` on {counted} on emulators, "
            "indexes included, with key and app in memory (they are kept for 15 s)."
        ),
        "",
        "Assumed, as nothing was measured on AWS:",
        "",
        f"- {ECHO_SECONDS * 1000:.0f} ms billed for `echo`, {CONTROL_SECONDS * 1000:.0f} ms for a request that executes nothing;",
        f"- {BATCH} messages per batch;",
        f"- {ACCESS_LINE + PLATFORM_LINES} bytes of log per request, {METRIC_LINE} per line of metrics;",
        f"- {EVENT_OUT} bytes per event of a stream.",
        "",
        *prose(f"Prices of {given['region']}, read on {given['read']} in stored copies of the pages named:"),
        "",
        "| price | | source |",
        "| ---: | --- | --- |",
    ]
    for price in given["usd"].values():
        per = " a million" if price["per"] == MILLION else ""
        lines.append(f"| ${price['price']:g}{per} | {price['what']} | {price['source']} |")
    lines += ["", "Not included, for want of a price with a source:", ""]
    lines += [line for item in given["without_a_source"] for line in prose(f"- {item}")]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if "--counts" in sys.argv:
        writes, reads = (read_counts(pathlib.Path(file).read_text()) for file in sys.argv[sys.argv.index("--counts") + 1 :][:2])
        operations = {name: row | {"read_units": reads[name]["read_units"]} for name, row in writes.items() if name in reads}
        given = {"counted": datetime.date.today().isoformat(), "operations": operations}
        COUNTS.write_text(json.dumps(given, indent=2) + "\n")
    current = PLACE.sub(lambda _: table(), DOCUMENT.read_text())
    if "--check" in sys.argv:
        sys.exit(0 if current == DOCUMENT.read_text() else "docs/operate.md is not current: run docs/figures/costs.py")
    DOCUMENT.write_text(current)
