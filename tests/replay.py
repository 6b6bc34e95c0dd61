"""The second part of tests/replay: sets up an emulator from the template, apps and a key, and sends every event
through `sam local`."""

import base64
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import time
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "template"))
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
os.environ |= {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "SAM_CLI_TELEMETRY": "0"}

FUNCTIONS = ("Stream", "Control", "Worker", "Sweeper")
# The interpreter of Python nodes. The functions of `tests/replay --dev` contain it themselves.
LAYER = "PythonLayer"
ZIP_LIMIT = 10_000_000
NAME = "runyard"
# The placeholders for key and run in the events.
KEY = "ry_0000000000000000_" + "0" * 64
RUN = "01940000-0000-7000-8000-000000000000"
# An app with a Python node.
PYTHON = "ticket-triage"


def check(condition, message):
    if not condition:
        raise SystemExit(f"FAILED: {message}")


def zips(built, names):
    """Checks that the zips of `sam build` are small enough for a fast cold start."""
    for name in names:
        program = "bin/runyard-python" if name == LAYER else "bootstrap"
        file = pathlib.Path(built, name, program)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(file, program)
        size = len(packed.getvalue())
        print(f"{name}: {size / 1e6:.1f} MB zipped, {file.stat().st_size / 1e6:.1f} MB unzipped")
        check(size <= ZIP_LIMIT, f"{name}'s zip has {size} bytes, over {ZIP_LIMIT}")


def make(stack, url):
    """Creates a stack of the template's table, bucket and queue; returns the variables that name them."""
    import boto3

    kept = ("Table", "Bucket", "BucketPolicy", "Queue", "DeadLetters")
    template = {
        "Parameters": stack.transformed["Parameters"],
        "Conditions": stack.transformed["Conditions"],
        "Resources": {name: stack.resources[name] for name in kept},
        "Outputs": {name: stack.transformed["Outputs"][name] for name in ("Table", "Bucket", "QueueUrl")},
    }
    cloudformation = boto3.client("cloudformation", endpoint_url=url)
    cloudformation.create_stack(StackName=NAME, TemplateBody=json.dumps(template))
    for _ in range(60):
        (made,) = cloudformation.describe_stacks(StackName=NAME)["Stacks"]
        if made["StackStatus"] != "CREATE_IN_PROGRESS":
            break
        time.sleep(0.25)
    check(made["StackStatus"] == "CREATE_COMPLETE", f"the stack is {made['StackStatus']}")
    outputs = {output["OutputKey"]: output["OutputValue"] for output in made["Outputs"]}
    return {"RUNYARD_TABLE": outputs["Table"], "RUNYARD_BUCKET": outputs["Bucket"], "RUNYARD_QUEUE_URL": outputs["QueueUrl"]}


def runyard(command, *arguments, url):
    """Runs the command line on the stack, as an operator does."""
    environment = os.environ | {"AWS_ENDPOINT_URL": url}
    result = subprocess.run([command, *arguments, "--stack", NAME], env=environment, capture_output=True, text=True, cwd=ROOT)
    check(result.returncode == 0, f"runyard {' '.join(arguments)}: {result.stderr}")
    return result.stdout


class SamLocal:
    """Runs the built functions with `sam local invoke`; their environment names the resources of the emulator."""

    def __init__(self, tools, stack, variables, url):
        given = json.loads(json.dumps(stack.source))
        for name in FUNCTIONS:
            resource = given["Resources"][name]
            resource["Properties"]["CodeUri"] = str(tools / "built" / name)
            resource.pop("Metadata")
            # `sam local` sets only variables that the template names.
            resource["Properties"].setdefault("Environment", {}).setdefault("Variables", {})["AWS_ENDPOINT_URL"] = url
        layer = given["Resources"][LAYER]
        layer.pop("Metadata")
        layer["Properties"]["ContentUri"] = str(tools / "built" / LAYER)
        self.template, self.environment = tools / "template.json", tools / "environment.json"
        self.given = given
        self.has_layer = (tools / "built" / LAYER).exists()
        if self.has_layer:
            self.template.write_text(json.dumps(given))
        else:
            self.take_layer_away()
        every = variables | {"AWS_ENDPOINT_URL": url}
        everywhere = given["Globals"]["Function"]["Environment"]["Variables"]
        own = {name: given["Resources"][name]["Properties"]["Environment"]["Variables"] for name in FUNCTIONS}
        plain = {
            name: {key: value if isinstance(value, str) else "" for key, value in (everywhere | own[name]).items()} | every
            for name in FUNCTIONS
        }
        for name in FUNCTIONS:
            plain[name] |= {"RUNYARD_APP_SHARDS": "1", "RUNYARD_METRICS": f"Runyard/{NAME}"}
        self.environment.write_text(json.dumps(plain))
        self.tools = tools

    def take_layer_away(self):
        for name in FUNCTIONS:
            self.given["Resources"][name]["Properties"].pop("Layers", None)
        self.template.write_text(json.dumps(self.given))

    def invoke(self, function, event):
        """Returns the bytes of the response, and the function's log."""
        file = self.tools / "event.json"
        file.write_text(json.dumps(event))
        command = [
            ROOT / "tests/sam-local", "invoke", function, "--template", self.template, "--env-vars", self.environment,
            "--event", file,
        ]
        result = subprocess.run(command, capture_output=True, cwd=ROOT, timeout=180)
        log = result.stderr.decode(errors="replace")
        check(result.returncode == 0, f"sam local invoke {function}: {log}")
        return result.stdout, log


def http(raw):
    """Returns status, headers and body of a response: either JSON, or streamed as a head, eight zero bytes and the
    body."""
    head, separator, body = raw.partition(b"\0" * 8)
    answer = json.loads(head)
    if not separator:
        body = answer.get("body") or ""
        body = base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()
    headers = {name.lower(): value for name, value in (answer.get("headers") or {}).items()}
    headers |= {name.lower(): values[0] for name, values in (answer.get("multiValueHeaders") or {}).items()}
    return answer["statusCode"], headers, body


# Status and content type of the response to each event of the API.
ANSWERS = {
    "answer-run": (400, "application/json"),
    "cancel-run": (200, "application/json"),
    "retry-run": (400, "application/json"),
    "create-file": (200, "application/json"),
    "create-run-background": (202, "application/json"),
    "create-run-files": (200, "application/json"),
    "create-run-stream": (200, "text/event-stream"),
    "create-run-sync": (200, "application/json"),
    "get-run": (200, "application/json"),
    "health": (200, "application/json"),
    "list-runs": (200, "application/json"),
    "openapi": (200, "application/json"),
    "run-events": (200, "application/json"),
    "stream-run": (200, "text/event-stream"),
}
# Events for the function that answers at once; the others execute or follow a run.
CONTROL = {"answer-run", "cancel-run", "create-file", "get-run", "health", "list-runs", "openapi", "retry-run", "run-events"}


def filled_in(file, key, run):
    """Returns the event with an existing key and run instead of the placeholders. A body of a REST API becomes
    Base64, as this template's gateway sends every body."""
    event = json.loads(file.read_text().replace(KEY, key).replace(RUN, run))
    if file.parent.name == "rest" and event["body"] is not None and not event["isBase64Encoded"]:
        event |= {"body": base64.b64encode(event["body"].encode()).decode(), "isBase64Encoded": True}
    return event


def for_python(file, key, run=RUN):
    """Returns the event for the app with a Python node instead of echo."""
    event = json.loads(file.read_text().replace(KEY, key).replace(RUN, run).replace("echo.localhost", f"{PYTHON}.localhost"))
    if event["body"] is not None:
        body = json.loads(event["body"])
        body["input"] = json.loads((ROOT / f"apps/{PYTHON}/sample-input.json").read_text())
        event |= {"body": base64.b64encode(json.dumps(body).encode()).decode(), "isBase64Encoded": True}
    return event


def evaluate(local, key):
    """Checks that Python nodes have their interpreter, and that a run's error reports a missing layer."""
    sync, background, get = (ROOT / f"events/rest/{name}.json" for name in ("create-run-sync", "create-run-background", "get-run"))

    def send(function, event):
        raw, _ = local.invoke(function, event)
        return json.loads(http(raw)[2])["data"]

    run = send("Stream", for_python(sync, key))
    check(run["status"] == "completed", f"a Python node, in Stream: {run}")
    run = send("Stream", for_python(background, key))
    event = json.loads((ROOT / "events/queue/batch-with-a-bad-message.json").read_text())
    event["Records"] = [event["Records"][0] | {"body": run["id"]}]
    local.invoke("Worker", event)
    run = send("Control", for_python(get, key, run["id"]))
    check(run["status"] == "completed", f"a Python node, in Worker: {run}")
    print("Python nodes: ok", flush=True)
    if local.has_layer:
        local.take_layer_away()
        run = send("Stream", for_python(sync, key))
        check(run["status"] == "failed" and "Python=true" in json.dumps(run["error"]), f"without the layer: {run}")
        print("Python nodes without their layer: ok", flush=True)


def replay(tools, command):
    import ministack
    from stack import Stack

    gateway = os.environ["RUNYARD_GATEWAY"]
    with ministack.running(tools, host="0.0.0.0", port=4566) as here:
        stack = Stack()
        variables = make(stack, here)
        organization = re.search(r"^organization: (\S+)", (ROOT / "apps/echo/app.yaml").read_text(), re.MULTILINE)[1]
        key = re.search(r"ry_[0-9a-f]{16}_[0-9a-f]{64}", runyard(command, "keys", "create", "--org", organization, url=here))[0]
        for app in ("echo", PYTHON):
            runyard(command, "apps", "deploy", f"apps/{app}", url=here)
        there = f"http://{gateway}:4566"
        variables["RUNYARD_QUEUE_URL"] = re.sub(r"^https?://[^/]+", there, variables["RUNYARD_QUEUE_URL"])
        local = SamLocal(tools, stack, variables, there)

        events = sorted((ROOT / "events").rglob("*.json"))
        check({file.parent.name for file in events} == {"http", "queue", "rest", "schedule", "url"}, "a folder of events is not tested")
        def send(file, function, key, run):
            raw, log = local.invoke(function, filled_in(file, key, run))
            check('"level":"ERROR"' not in log, f"{file}: {log}")
            status, headers, body = http(raw)
            check("x-request-id" in headers, f"{file}: {headers}")
            return status, headers.get("content-type", ""), body

        get = ROOT / "events/rest/get-run.json"
        status, _, body = send(get, "Control", KEY, RUN)
        check(status == 401 and json.loads(body)["error"]["code"] == "unauthorized", f"without a valid key: {status} {body!r}")

        # First creates a run for the events that need one (only one: both kinds of event have the same idempotency
        # key), then lets the worker execute it.
        run = RUN
        events.sort(key=lambda file: (file.stem != "create-run-background", file.parent.name != "queue", file.parent.name, file.stem))
        for file in events:
            kind, name = file.parent.name, file.stem
            if kind == "schedule":
                raw, _ = local.invoke("Sweeper", filled_in(file, key, run))
                check(set(json.loads(raw)) == {"looked_at", "requeued", "failed", "deleted"}, f"{file}: {raw}")
            elif kind == "queue":
                event = filled_in(file, key, run)
                raw, _ = local.invoke("Worker", event)
                failed = [one["itemIdentifier"] for one in json.loads(raw)["batchItemFailures"]]
                wrong = [one["messageId"] for one in event["Records"] if not re.fullmatch(r"[0-9a-f-]{36}", one["body"])]
                check(wrong and failed == wrong, f"{file}: {raw}")
                _, _, body = send(get, "Control", key, run)
                check(json.loads(body)["data"]["status"] == "completed", f"{file}: after it, {body!r}")
            else:
                wanted, content_type = ANSWERS[name]
                status, given, body = send(file, "Control" if name in CONTROL else "Stream", key, run)
                check(status == wanted and given.startswith(content_type), f"{file}: {status} {given} {body!r}")
                if name == "create-run-background":
                    made = json.loads(body)["data"]["id"]
                    check(run in (RUN, made), f"{file}: another run for the same idempotency key: {body!r}")
                    run = made
                if name == "create-run-sync":
                    check(json.loads(body)["data"]["status"] == "completed", f"{file}: {body!r}")
                if name == "create-run-stream":
                    check(b"event: run.started" in body and b"event: run.completed" in body, f"{file}: {body!r}")
            print(f"{file.relative_to(ROOT)}: ok", flush=True)
        evaluate(local, key)
    print(f"{len(events)} passed, 0 failed")


if __name__ == "__main__":
    if sys.argv[1] == "zips":
        zips(sys.argv[2], sys.argv[3:])
    else:
        replay(pathlib.Path(sys.argv[2]), sys.argv[3])
