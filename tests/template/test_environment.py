"""Every variable that a function reads is set, and every variable that is set is read."""

import re

import rust
from stack import FUNCTIONS, proves, put

FOLDER = {"Stream": "functions/api/src", "Control": "functions/api/src", "Worker": "functions/worker/src", "Sweeper": "functions/sweeper/src"}
# Variables that are not set for deployed functions, and why.
UNSET = {
    "RUNYARD_BACKEND": "the default is aws",
    "RUNYARD_LOG": "a filter for single investigations; LogLevel sets AWS_LAMBDA_LOG_LEVEL",
    "OTEL_SERVICE_NAME": "the default is the name of the function",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "the general endpoint suffices, since only traces are exported",
}
# The ports on SQLite, which the deployed zip does not contain.
EMBEDDED = re.compile(r"shared/boot/src/embedded(/.*|\.rs)")
# Read by lambda_http: without it, the path of a REST event begins with the stage.
OF_LIBRARIES = {"Stream": {"AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH"}, "Control": {"AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH"}}


def read_by(function):
    folders = (FOLDER[function], "shared/boot/src", "shared/aws/src")
    return {
        text
        for file, text in rust.texts(*folders)
        if re.fullmatch(r"(RUNYARD|OTEL)_[A-Z_]+", text) and not EMBEDDED.match(file)
    }


def variables_match_the_code(stack):
    for function in FUNCTIONS:
        given = set(stack.properties(function)["Environment"]["Variables"])
        read = read_by(function)
        assert {"RUNYARD_TABLE", "RUNYARD_BUCKET", "RUNYARD_QUEUE_URL"} <= read, "the parser misses variables"
        wanted = read - set(UNSET) | OF_LIBRARIES.get(function, set())
        assert not wanted - given, f"{function} reads variables that are not set: {sorted(wanted - given)}"
        assert not given - wanted, f"{function} does not read {sorted(given - wanted)}"


test_variables_match_the_code = proves(
    variables_match_the_code,
    one_missing=put("Stream", "Properties", "Environment", "Variables", "RUNYARD_ROLE", None),
    one_too_many=put("Worker", "Properties", "Environment", {"Variables": {"RUNYARD_COLOR": "blue"}}),
    the_stage_in_the_path=put("Control", "Properties", "Environment", "Variables", "AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH", None),
)


def test_unset_variables_are_read():
    read = set().union(*(read_by(function) for function in FUNCTIONS))
    assert set(UNSET) <= read, set(UNSET) - read


def both_api_functions_stream(stack):
    """The gateway expects streamed responses from both."""
    for function in ("Stream", "Control"):
        assert stack.properties(function)["Environment"]["Variables"].get("RUNYARD_ROLE") == "stream"


test_both_api_functions_stream = proves(
    both_api_functions_stream,
    whole=put("Control", "Properties", "Environment", "Variables", "RUNYARD_ROLE", "control"),
)


def variables_name_resources_of_the_stack(stack):
    for function in FUNCTIONS:
        given = stack.properties(function)["Environment"]["Variables"]
        assert given["RUNYARD_TABLE"] == {"Ref": "Table"} and given["RUNYARD_BUCKET"] == {"Ref": "Bucket"}
        assert given["RUNYARD_QUEUE_URL"] == {"Ref": "Queue"}
        metrics = given["RUNYARD_METRICS"]
        assert all(
            stack.properties(alarm)["Namespace"] == metrics
            for alarm in stack.of("AWS::CloudWatch::Alarm")
            if not str(stack.properties(alarm).get("Namespace", "AWS/")).startswith("AWS/")
        )


test_variables_name_resources_of_the_stack = proves(
    variables_name_resources_of_the_stack,
    dead_letters=lambda template: template["Globals"]["Function"]["Environment"]["Variables"].update(
        RUNYARD_QUEUE_URL={"Ref": "DeadLetters"}
    ),
    another_namespace=lambda template: template["Globals"]["Function"]["Environment"]["Variables"].update(
        RUNYARD_METRICS="Runyard"
    ),
)
