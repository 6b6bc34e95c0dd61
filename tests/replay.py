"""The second half of tests/replay: an emulator made from the template, an app, a key, and every event through `sam local`."""

import base64
import contextlib
import io
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import urllib.request
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "template"))
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
os.environ |= {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "SAM_CLI_TELEMETRY": "0"}

FUNCTIONS = ("Stream", "Control", "Worker", "Sweeper")
ZIP_LIMIT = 10_000_000
# The key and the run that stand in the events.
KEY = "ry_0000000000000000_" + "0" * 64
RUN = "01940000-0000-7000-8000-000000000000"


def check(holds, message):
    if not holds:
        raise SystemExit(f"FAILED: {message}")


def zips(built):
    """What `sam build` made is small enough to be loaded at a cold start."""
    for name in FUNCTIONS:
        bootstrap = pathlib.Path(built, name, "bootstrap")
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(bootstrap, "bootstrap")
        size = len(packed.getvalue())
        print(f"{name}: {size / 1e6:.1f} MB zipped, {bootstrap.stat().st_size / 1e6:.1f} MB unzipped")
        check(size <= ZIP_LIMIT, f"{name}'s zip has {size} bytes, over {ZIP_LIMIT}")


@contextlib.contextmanager
def emulator(tools):
    """ministack, reachable from containers by the gateway of their network."""
    log = open(tools / "ministack.log", "w")
    environment = os.environ | {"BIND_HOST": "0.0.0.0", "GATEWAY_PORT": "4566", "IOT_MTLS_ENABLED": "0", "LAMBDA_EXECUTOR": "local"}
    process = subprocess.Popen([tools / "venv/bin/ministack"], env=environment, stdout=log, stderr=log, cwd=tools)
    try:
        for _ in range(120):
            with contextlib.suppress(OSError):
                urllib.request.urlopen("http://127.0.0.1:4566/_ministack/health", timeout=2)
                break
            check(process.poll() is None, f"ministack ended: {tools}/ministack.log")
            time.sleep(0.5)
        yield "http://127.0.0.1:4566"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def make(stack, endpoint):
    """Table, bucket and queue as the template has them; gives the variables that name them."""
    import boto3

    def client(service):
        return boto3.client(service, endpoint_url=endpoint)

    table = stack.properties("Table")
    names = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
    client("dynamodb").create_table(TableName="runs", **{name: table[name] for name in names})
    client("s3").create_bucket(Bucket="runs")
    visibility = str(stack.properties("Queue")["VisibilityTimeout"])
    url = client("sqs").create_queue(QueueName="runs", Attributes={"VisibilityTimeout": visibility})["QueueUrl"]
    return {"RUNYARD_TABLE": "runs", "RUNYARD_BUCKET": "runs", "RUNYARD_QUEUE_URL": url}
