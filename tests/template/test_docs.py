"""The documents match the template."""

import re
import subprocess
import sys

from document import DOCUMENT, PARAMETERS, table
from stack import ROOT, Stack

OPERATE = ROOT / "docs" / "operate.md"
FIGURES = ROOT / "docs" / "figures"


def test_the_table_of_parameters_is_current():
    assert PARAMETERS.search(DOCUMENT.read_text())[0] == table(), "run tests/template/document.py"


def test_every_alarm_refers_to_instructions():
    """Each alarm's description names a heading of docs/operate.md, and each such heading names its alarm."""
    text = OPERATE.read_text()
    headings = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    alarms = Stack().of("AWS::CloudWatch::Alarm")
    assert len(alarms) >= 8
    for name in alarms:
        description = Stack().properties(name)["AlarmDescription"]
        heading = re.search(r"\(docs/operate\.md, ([^)]+)\)$", description)
        assert heading and heading[1] in headings, (name, description)
        assert f"`{name.removesuffix('Alarm')}`" in text, name


def test_names_of_the_template_in_the_docs_are_names_of_the_template():
    """Every parameter, output and resource that a documented command names exists."""
    stack = Stack()
    known = set(stack.source["Parameters"]) | set(stack.source["Outputs"]) | set(stack.resources)
    for document in (DOCUMENT, OPERATE):
        for name in set(re.findall(r"--parameter-overrides (\w+)=", document.read_text())) - {"NAME"}:
            assert name in known, (document.name, name)
        for name in re.findall(r"OutputKey=='(\w+)'|LogicalResourceId/(\w+)|--logical-resource-id (\w+)", document.read_text()):
            assert "".join(name) in known, (document.name, name)


def test_the_cost_table_is_current():
    command = [sys.executable, FIGURES / "costs.py", "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_the_cost_table_matches_the_template():
    """The costs are computed for the template's defaults and its number of alarm metrics."""
    sys.path.insert(0, str(FIGURES))
    import costs

    stack = Stack()
    assert costs.MEMORY_GB * 1024 == stack.properties("Stream")["MemorySize"] == stack.properties("Worker")["MemorySize"]
    (mapping,) = stack.of("AWS::Lambda::EventSourceMapping")
    assert costs.BATCH == stack.properties(mapping)["BatchSize"]
    alarms = [stack.properties(name) for name in stack.of("AWS::CloudWatch::Alarm")]
    watched = [sum("MetricStat" in metric for metric in alarm.get("Metrics", [{"MetricStat": {}}])) for alarm in alarms]
    assert costs.ALARM_METRICS == sum(watched)


def test_the_next_commands_are_documented():
    """The outputs hold the commands of docs/deploy.md: they create a key for the app that they deploy."""
    outputs = Stack().transformed["Outputs"]
    key, app = (outputs[name]["Value"]["Fn::Sub"].replace("${AWS::StackName}", "runyard") for name in ("CreateKey", "DeployApp"))
    organization = re.search(r"^organization: (\S+)", (ROOT / "apps/echo/app.yaml").read_text(), re.MULTILINE)[1]
    assert key == f"runyard keys create --org {organization} --stack runyard"
    assert app == "runyard apps deploy apps/echo --stack runyard"
    assert f"    {key}\n    {app}\n" in DOCUMENT.read_text()


def test_outputs_are_those_that_the_command_line_reads():
    source = (ROOT / "shared/aws/src/stack.rs").read_text()
    read = set(re.findall(r'of\(\w+, "(\w+)"\)', source))
    assert {"Table", "Bucket"} <= read <= set(Stack().transformed["Outputs"])
