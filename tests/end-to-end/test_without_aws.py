"""`cargo lambda watch` as documented in docs/lambda-local.md: on SQLite and files, without AWS."""

import json
import re
import subprocess

import api as client
import pytest
from api import types
from stack import ROOT

ENVIRONMENT = "events/local.env"


@pytest.fixture(scope="module")
def api(request, tmp_path_factory):
    option = request.config.option
    (key,) = re.findall(r"^RUNYARD_DEV_KEY=(.+)$", (ROOT / ENVIRONMENT).read_text(), re.MULTILINE)
    arguments = ["--env-file", ENVIRONMENT, "--features", f"embedded,{option.features}"]
    data, log = tmp_path_factory.mktemp("data"), option.folder / "watch-without-aws.log"
    with client.watched({"RUNYARD_DATA": str(data)}, key, log, option.cargo_lambda, arguments) as api:
        yield api


def test_the_documented_commands_are_those_tested():
    text = (ROOT / "docs/lambda-local.md").read_text()
    assert f"cargo lambda watch -A 127.0.0.1 --concurrency 4 --ignore-changes --env-file {ENVIRONMENT} --features embedded\n" in text
    assert "cargo lambda invoke -A 127.0.0.1 --data-file events/http/create-run-sync.json api\n" in text


def test_a_sync_run_is_answered(api):
    run = api.create({"message": "hello"})
    assert (run["status"], run["output"]) == ("completed", {"message": "hello"})
    assert api.get(run["id"]) == run


def test_a_background_run_is_handed_to_the_worker(api):
    run = api.create({"message": "later"}, background=True)
    assert api.ended(run["id"])["output"] == {"message": "later"}


def test_a_stream_shows_a_whole_run(api):
    with api.stream({"message": "look"}) as (run, events):
        kinds = types(events)
    assert (kinds[0], kinds[-1]) == ("run.started", "run.completed")
    assert types(api.log(run)) == kinds


def test_python_nodes_have_their_interpreter(api):
    sample = json.loads((ROOT / "apps/ticket-triage/sample-input.json").read_text())
    assert api.create(sample, "ticket-triage")["status"] == "completed"


@pytest.mark.parametrize(
    "function, event, answers",
    [
        ("api", "http/create-run-sync", lambda answer: answer["data"]["status"] == "completed"),
        ("worker", "queue/batch-with-a-bad-message", lambda answer: len(answer["batchItemFailures"]) == 1),
        ("sweeper", "schedule/tick", lambda answer: answer["looked_at"] >= 0),
    ],
)
def test_a_function_accepts_an_event_file(api, request, function, event, answers):
    host, port = re.fullmatch(r"http://([\d.]+):(\d+)/.*", api.url).groups()
    command = [request.config.option.cargo_lambda, "lambda", "invoke", "-A", host, "-P", port]
    command += ["--data-file", f"events/{event}.json", function]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=client.TIMEOUT_SECONDS)
    assert result.returncode == 0 and answers(json.loads(result.stdout)), (result.stdout, result.stderr)
