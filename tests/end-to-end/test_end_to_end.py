"""What is promised of runs, from the request to what lies in the table, the bucket and the queue."""

import json
import signal
import sys
import time
import uuid

import pytest
from api import PATIENCE, types, until
from stack import ROOT

sys.path.insert(0, str(ROOT / "tests/llm"))
from stub import Stub

STARTED = ("run.started", "run.resumed")


def claims(events):
    """How many workers took the run."""
    return sum(kind in STARTED for kind in types(events))


def completed(events, node):
    """How often the node's result was recorded."""
    return sum(event["type"] == "node.completed" and event["data"]["node"]["id"] == node for event in events)


def working(api, run, after=0):
    """Waits until more than `after` workers have taken the run."""
    def look():
        return claims(api.log(run, "steps")) > after

    # Should a lease be renewed at the last moment, its minute and the sweeper's pass.
    until(look, f"a worker takes the run {run}", 60 + 60 + PATIENCE)


@pytest.fixture(scope="session", autouse=True)
def orphan(api, cloud):
    """A run whose worker was killed in its second step, when the first test begins: the minute of its lease passes while the
    others run."""
    run = api.create({"first": 0, "second": 10}, "steps", background=True)["id"]
    until(lambda: completed(api.log(run, "steps"), "first"), "the first step is recorded")
    assert cloud.end_workers(signal.SIGKILL) >= 1
    return run


def test_a_sync_run_is_answered(api):
    run = api.create({"message": "hello"}, user_id="u", metadata={"from": "here"})
    assert (run["status"], run["output"], run["metadata"]) == ("completed", {"message": "hello"}, {"from": "here"})
    assert api.look(run["id"]) == run
    (listed,) = api.ask("GET", "/v1/runs?user_id=u").json()["data"]
    assert listed["id"] == run["id"]


def test_a_background_run_is_executed_by_the_worker(api, cloud):
    run = api.create({"message": "later"}, background=True)
    assert run["status"] == "created"
    assert api.ended(run["id"])["output"] == {"message": "later"}

    def counted():
        """The line that the platform makes a metric of, which only who executed the run writes."""
        group, pattern = cloud.names["WorkerLogs"], f'"{run["id"]}"'
        found = cloud.client("logs").filter_log_events(logGroupName=group, filterPattern=pattern)["events"]
        return any('"Runs":1' in line["message"] for line in found)

    until(counted, "the worker counts the run")


def test_a_stream_shows_events_as_they_come(api):
    with api.stream({"first": 0, "second": 3}, "steps") as (run, events):
        came = [(event, time.monotonic()) for event in events]
    log = api.log(run, "steps")
    assert [event for event, _ in came] == log
    assert (log[0]["type"], log[-1]["type"]) == ("run.started", "run.completed")
    first = next(at for event, at in came if event["type"] == "node.completed" and event["data"]["node"]["id"] == "first")
    assert came[-1][1] - first > 1, "the first step is seen while the second one goes on"


def test_who_comes_back_to_a_stream_misses_nothing(api):
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
    told = "".join(event["data"]["delta"] for event in events if event["type"] == "llm.delta")
    assert told == events[-1]["data"]["output"]["answer"] == "It runs on a lake of small tables."
    assert "k-123" not in str(events)


def test_files_are_sent_before_a_run_or_with_it(api, cloud):
    answer = api.ask("POST", "/v1/files", files={"file": ("note.txt", b"a note", "text/plain")})
    assert answer.status_code == 200, answer.text
    note = answer.json()["data"]
    assert (note["name"], note["size"], note["mime_type"]) == ("note.txt", 6, "text/plain")
    # More than one part of an upload to S3 would be more than a function takes.
    picture = bytes(range(256)) * 4096 * 3
    fields = {"input": json.dumps({"message": "both"}), "file_ids": json.dumps([note["id"]])}
    answer = api.ask("POST", "/v1/runs", data=fields, files={"files": ("picture.bin", picture, "image/png")})
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
    unknown = api.ask("POST", "/v1/runs", json={"input": {"message": "x"}, "file_ids": [str(uuid.uuid4())]})
    assert unknown.status_code == 400 and "file_ids.0" in unknown.json()["error"]["details"], unknown.text


def test_what_is_too_large_for_the_table_goes_through_the_bucket(api, cloud):
    message = "0123456789abcdef" * (1 << 14)
    run = api.create({"message": message}, background=True)
    assert api.ended(run["id"])["output"] == {"message": message}
    objects = cloud.client("s3").list_objects_v2(Bucket=cloud.names["Bucket"], Prefix="runs/")["Contents"]
    assert sum(object["Size"] > len(message) for object in objects) >= 2, "input and output"


def test_the_same_key_gives_the_same_run(api):
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    first, again = (api.ask("POST", "/v1/runs", json={"input": {"message": "once"}}, headers=headers) for _ in range(2))
    assert first.json() == again.json() and again.headers["idempotency-replayed"] == "true"
    other = api.ask("POST", "/v1/runs", json={"input": {"message": "twice"}}, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "conflict")


def test_a_key_that_nobody_made_opens_nothing(api):
    answer = api.ask("GET", "/v1/runs", key="ry_0123456789abcdef_" + "0" * 64)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")


def test_a_worker_lets_go_of_a_run_that_is_canceled(api, cloud):
    before = cloud.messages()
    run = api.create({"first": 600, "second": 0}, "steps", background=True)["id"]
    working(api, run)
    api.cancel(run, "steps")
    assert api.look(run, "steps")["status"] == "canceled"
    until(lambda: cloud.messages() <= before, "the worker is done with the message, long before the step would be")
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


def test_a_message_that_names_no_run_is_put_aside(api, cloud):
    before = cloud.messages()
    sqs, queue, aside = cloud.client("sqs"), cloud.names["Queue"], cloud.names["DeadLetters"]
    kept = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["VisibilityTimeout"])["Attributes"]
    # It comes again at once, and not as late as a worker may take.
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "1"})
    try:
        sqs.send_message(QueueUrl=queue, MessageBody="no run", MessageGroupId="somebody")
        gone = str(uuid.uuid4())
        sqs.send_message(QueueUrl=queue, MessageBody=gone, MessageGroupId="somebody")
        run = api.create({"message": "beside it"}, background=True)["id"]
        assert api.ended(run)["status"] == "completed"
        (message,) = until(lambda: sqs.receive_message(QueueUrl=aside).get("Messages"), "the message is put aside")
        assert message["Body"] == "no run"
        until(lambda: cloud.messages() <= before, "the others are done")
    finally:
        sqs.set_queue_attributes(QueueUrl=queue, Attributes=kept)


def test_a_run_whose_worker_was_killed_is_finished_by_another(api, cloud, orphan):
    """By its lease and the sweeper's own schedule: nobody here had anybody look."""
    run = api.ended(orphan, "steps", seconds=60 + 60 + PATIENCE)
    assert (run["status"], run["output"]) == ("completed", {"steps": "second"}), run
    events = api.log(orphan, "steps")
    assert claims(events) == 2 and types(events).count("run.resumed") == 1, types(events)
    assert completed(events, "first") == 1, "what was recorded is not done again"


def test_a_run_that_kills_its_workers_fails(api, cloud):
    run = api.create({"first": 600, "second": 0}, "steps", background=True)["id"]
    for life in range(5):
        working(api, run, after=life)
        assert cloud.end_workers(signal.SIGKILL) >= 1
        cloud.end_lease(run)
        cloud.sweep()
    ended = api.ended(run, "steps")
    assert (ended["status"], ended["error"]["code"]) == ("failed", "worker_lost"), ended
    assert claims(api.log(run, "steps")) == 5
