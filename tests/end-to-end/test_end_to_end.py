"""The promises about runs, from the request to the items in the table, the bucket and the queue."""

import json
import signal
import subprocess
import sys
import time
import uuid

import pytest
from api import TIMEOUT_SECONDS, types, until
from stack import ROOT

sys.path.insert(0, str(ROOT / "tests/llm"))
from stub import Stub

STARTED = ("run.started", "run.resumed")


def claims(events):
    """Returns how many workers have claimed the run."""
    return sum(kind in STARTED for kind in types(events))


def completed(events, node):
    """Returns how often the node's result was recorded."""
    return sum(event["type"] == "node.completed" and event["data"]["node"]["id"] == node for event in events)


def working(api, run, after=0):
    """Waits until more than `after` workers have claimed the run."""
    def is_claimed():
        return claims(api.log(run, "steps")) > after

    # In the worst case the lease was just renewed: wait for its expiry and the sweeper's next pass, a minute each.
    until(is_claimed, f"a worker claims the run {run}", 60 + 60 + TIMEOUT_SECONDS)


@pytest.fixture(scope="session", autouse=True)
def orphan(api, cloud):
    """A run whose worker is killed in its second step before the first test: its lease expires while the other tests
    run."""
    run = api.create({"first": 0, "second": 10}, "steps", background=True)["id"]
    until(lambda: completed(api.log(run, "steps"), "first"), "the first step is recorded")
    assert cloud.end_workers(signal.SIGKILL) >= 1
    return run


def test_a_sync_run_is_answered(api):
    run = api.create({"message": "hello"}, user_id="u", metadata={"from": "here"})
    assert (run["status"], run["output"], run["metadata"]) == ("completed", {"message": "hello"}, {"from": "here"})
    assert api.get(run["id"]) == run
    (listed,) = api.request("GET", "/v1/runs?user_id=u").json()["data"]
    assert listed["id"] == run["id"]


def test_a_background_run_is_executed_by_the_worker(api, cloud):
    run = api.create({"message": "later"}, background=True)
    assert run["status"] == "created"
    assert api.ended(run["id"])["output"] == {"message": "later"}

    def counted():
        """Whether the log has the metric's line of the run, which only its worker writes."""
        group, pattern = cloud.names["WorkerLogs"], f'"{run["id"]}"'
        found = cloud.client("logs").filter_log_events(logGroupName=group, filterPattern=pattern)["events"]
        return any('"Runs":1' in line["message"] for line in found)

    until(counted, "the worker counts the run")


def test_a_stream_shows_events_as_they_happen(api):
    with api.stream({"first": 0, "second": 3}, "steps") as (run, events):
        received = [(event, time.monotonic()) for event in events]
    log = api.log(run, "steps")
    assert [event for event, _ in received] == log
    assert (log[0]["type"], log[-1]["type"]) == ("run.started", "run.completed")
    first = next(at for event, at in received if event["type"] == "node.completed" and event["data"]["node"]["id"] == "first")
    assert received[-1][1] - first > 1, "the first step is shown while the second one executes"


def test_a_resumed_stream_misses_nothing(api):
    """The run is executed in one process and followed in another."""
    run = api.create({"first": 0, "second": 2}, "steps", background=True)["id"]
    seen = []
    for event in api.follow(run, "steps"):
        seen.append(event)
        if completed(seen, "first"):
            break
    seen += api.follow(run, "steps", after=seen[-1]["sequence"])
    assert seen == api.log(run, "steps") and seen[-1]["type"] == "run.completed"


def test_deltas_of_a_model_whose_key_is_a_secret(api, cloud):
    model = Stub(["It runs on a lake of small tables."])
    try:
        secret = json.dumps({"key": "k-123"})
        cloud.client("ssm").put_parameter(Name="/runyard/llm-url", Value=model.url, Type="String", Overwrite=True)
        cloud.client("secretsmanager").create_secret(Name="runyard/llm", SecretString=secret)
        run = api.create({"question": "Where does it run?"}, "talk", background=True)["id"]
        events = list(api.follow(run, "talk"))
    finally:
        model.close()
    assert events[-1]["type"] == "run.completed", events[-1]
    deltas = "".join(event["data"]["delta"] for event in events if event["type"] == "llm.delta")
    assert deltas == events[-1]["data"]["output"]["answer"] == "It runs on a lake of small tables."
    assert "k-123" not in str(events)


def test_files_are_sent_before_a_run_or_with_it(api, cloud):
    answer = api.request("POST", "/v1/files", files={"file": ("note.txt", b"a note", "text/plain")})
    assert answer.status_code == 200, answer.text
    note = answer.json()["data"]
    assert (note["name"], note["size"], note["mime_type"]) == ("note.txt", 6, "text/plain")
    # 3 MiB: an upload of more than one part to S3 would exceed the size of a function's request.
    picture = bytes(range(256)) * 4096 * 3
    fields = {"input": json.dumps({"message": "both"}), "file_ids": json.dumps([note["id"]])}
    answer = api.request("POST", "/v1/runs", data=fields, files={"files": ("picture.bin", picture, "image/png")})
    assert answer.status_code == 200, answer.text
    run = answer.json()["data"]
    assert run["status"] == "completed", run
    files = {file["name"]: file for file in run["files"]}
    assert (files["note.txt"]["id"], files["picture.bin"]["size"]) == (note["id"], len(picture))
    objects = cloud.client("s3").list_objects_v2(Bucket=cloud.names["Bucket"], Prefix="files/")["Contents"]
    stored = {object["Key"].rsplit("/", 1)[1]: object["Key"] for object in objects}
    for file, content in ((note, b"a note"), (files["picture.bin"], picture)):
        got = cloud.client("s3").get_object(Bucket=cloud.names["Bucket"], Key=stored[file["id"]])
        assert got["Body"].read() == content

    again = api.create({"message": "in the background"}, background=True, file_ids=[note["id"]])
    assert [file["id"] for file in api.ended(again["id"])["files"]] == [note["id"]]
    unknown = api.request("POST", "/v1/runs", json={"input": {"message": "x"}, "file_ids": [str(uuid.uuid4())]})
    assert unknown.status_code == 400 and "file_ids.0" in unknown.json()["error"]["details"], unknown.text


def test_data_too_large_for_the_table_is_stored_in_the_bucket(api, cloud):
    message = "0123456789abcdef" * (1 << 14)
    run = api.create({"message": message}, background=True)
    assert api.ended(run["id"])["output"] == {"message": message}
    objects = cloud.client("s3").list_objects_v2(Bucket=cloud.names["Bucket"], Prefix="runs/")["Contents"]
    assert sum(object["Size"] > len(message) for object in objects) >= 2, "input and output"


def test_an_idempotency_key_returns_the_same_run(api):
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    first, again = (api.request("POST", "/v1/runs", json={"input": {"message": "once"}}, headers=headers) for _ in range(2))
    assert first.json() == again.json() and again.headers["idempotency-replayed"] == "true"
    other = api.request("POST", "/v1/runs", json={"input": {"message": "twice"}}, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "conflict")


def test_the_command_line_accepts_a_url_with_a_path(api, cloud):
    run = api.create({"message": "hello"})["id"]
    command = [cloud.built / "runyard", "runs", "get", run, "--json", "--url", api.url, "--key", api.key]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["id"] == run


def test_an_unknown_key_is_refused(api):
    answer = api.request("GET", "/v1/runs", key="ry_0123456789abcdef_" + "0" * 64)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")


def test_a_worker_stops_a_canceled_run(api, cloud):
    before = cloud.messages()
    run = api.create({"first": 600, "second": 0}, "steps", background=True)["id"]
    working(api, run)
    api.cancel(run, "steps")
    assert api.get(run, "steps")["status"] == "canceled"
    until(lambda: cloud.messages() <= before, "the worker has deleted the message, long before the step would end")
    assert types(api.log(run, "steps"))[-1] == "run.canceled"


def test_a_cancel_ends_the_stream(api):
    with api.stream({"first": 0, "second": 300}, "steps") as (run, events):
        seen = []
        for event in events:
            seen.append(event)
            if completed(seen, "first") and not any(kind == "run.canceled" for kind in types(seen)):
                api.cancel(run, "steps")
    assert types(seen)[-1] == "run.canceled", types(seen)
    assert seen == api.log(run, "steps")


def test_a_message_without_a_run_id_goes_to_the_dead_letter_queue(api, cloud):
    before = cloud.messages()
    sqs, queue, aside = cloud.client("sqs"), cloud.names["Queue"], cloud.names["DeadLetters"]
    kept = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["VisibilityTimeout"])["Attributes"]
    # Redelivered after 1 s instead of the worker's full timeout.
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "1"})
    try:
        sqs.send_message(QueueUrl=queue, MessageBody="no run", MessageGroupId="somebody")
        gone = str(uuid.uuid4())
        sqs.send_message(QueueUrl=queue, MessageBody=gone, MessageGroupId="somebody")
        run = api.create({"message": "beside it"}, background=True)["id"]
        assert api.ended(run)["status"] == "completed"
        (message,) = until(lambda: sqs.receive_message(QueueUrl=aside).get("Messages"), "the message is in the dead letter queue")
        assert message["Body"] == "no run"
        until(lambda: cloud.messages() <= before, "the others are done")
    finally:
        sqs.set_queue_attributes(QueueUrl=queue, Attributes=kept)


def test_a_run_is_handed_over_when_its_worker_shuts_down(api, cloud):
    run = api.create({"first": 0, "second": 10}, "steps", background=True)["id"]
    until(lambda: completed(api.log(run, "steps"), "first"), "the first step is recorded")
    assert cloud.end_workers(signal.SIGTERM) >= 1
    working(api, run, after=1)
    assert api.get(run, "steps")["status"] == "started", "another worker claims it long before its step would end"
    assert api.ended(run, "steps")["output"] == {"steps": "second"}
    assert (claims(api.log(run, "steps")), completed(api.log(run, "steps"), "first")) == (2, 1)


def test_a_run_of_a_killed_worker_is_completed_by_another(api, cloud, orphan):
    """Only by the expiry of its lease and the sweeper's schedule: the test does not start the sweeper."""
    run = api.ended(orphan, "steps", seconds=60 + 60 + TIMEOUT_SECONDS)
    assert (run["status"], run["output"]) == ("completed", {"steps": "second"}), run
    events = api.log(orphan, "steps")
    assert claims(events) == 2 and types(events).count("run.resumed") == 1, types(events)
    assert completed(events, "first") == 1, "recorded steps are not executed again"


def test_a_run_that_kills_its_workers_fails(api, cloud):
    run = api.create({"first": 600, "second": 0}, "steps", background=True)["id"]
    for life in range(5):
        working(api, run, after=life)
        assert cloud.end_workers(signal.SIGKILL) >= 1
        cloud.end_lease(run)
        cloud.sweep()
    try:
        ended = api.ended(run, "steps")
    except AssertionError as error:
        raise AssertionError(f"{error}: {api.get(run, 'steps')}, {types(api.log(run, 'steps'))}") from None
    assert (ended["status"], ended["error"]["code"]) == ("failed", "worker_lost"), ended
    assert claims(api.log(run, "steps")) == 5
