"""Alarms watch existing metrics, and notify the configured address."""

import re

import rust
from stack import FUNCTIONS, Stack, proves, put

# Metrics of AWS itself for the template's resources.
AWS_METRICS = {
    "AWS/ApiGateway": {"5XXError"},
    "AWS/DynamoDB": {"ReadThrottleEvents", "WriteThrottleEvents"},
    "AWS/Lambda": {"Errors", "Invocations", "Throttles"},
    "AWS/SQS": {"ApproximateAgeOfOldestMessage", "ApproximateNumberOfMessagesVisible"},
}


def watched(alarm):
    """Returns `(namespace, metric, dimensions)` of each metric that an alarm watches."""
    metrics = [metric["MetricStat"]["Metric"] for metric in alarm.get("Metrics", []) if "MetricStat" in metric] or [alarm]
    return [
        (metric["Namespace"], metric["MetricName"], {d["Name"]: d["Value"] for d in metric.get("Dimensions", [])})
        for metric in metrics
    ]


def alarms_watch_existing_metrics(stack):
    """Each metric is one of AWS or of the stack's filters; each dimension names a resource of the stack."""
    made = {
        transformation["MetricName"]
        for name in stack.of("AWS::Logs::MetricFilter")
        for transformation in stack.properties(name)["MetricTransformations"]
    }
    seen = {}
    for name in stack.of("AWS::CloudWatch::Alarm"):
        alarm = stack.properties(name)
        assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": "Alarms"}], name
        assert alarm["TreatMissingData"] == ("breaching" if name == "SweeperSilentAlarm" else "notBreaching"), name
        for namespace, metric, dimensions in watched(alarm):
            if isinstance(namespace, dict):
                assert namespace == {"Fn::Sub": "Runyard/${AWS::StackName}"} and metric in made and not dimensions, name
            else:
                assert metric in AWS_METRICS[namespace], (name, metric)
            seen.setdefault(metric, []).append(dimensions)
    every = [{"FunctionName": {"Ref": function}} for function in FUNCTIONS]
    assert seen["Throttles"] == every and seen["Errors"] == every
    assert seen["Invocations"] == [{"FunctionName": {"Ref": "Sweeper"}}]
    assert seen["ApproximateNumberOfMessagesVisible"] == [{"QueueName": {"Fn::GetAtt": ["DeadLetters", "QueueName"]}}]
    assert seen["ApproximateAgeOfOldestMessage"] == [{"QueueName": {"Fn::GetAtt": ["Queue", "QueueName"]}}]
    # The metrics of an API have its name as dimension.
    assert seen["5XXError"] == [{"ApiName": stack.properties("Api")["Name"], "Stage": stack.properties("ApiStage")["StageName"]}]
    indexes = [index["IndexName"] for index in stack.properties("Table")["GlobalSecondaryIndexes"]]
    wanted = [{"TableName": {"Ref": "Table"}}] + [{"TableName": {"Ref": "Table"}, "GlobalSecondaryIndexName": i} for i in indexes]
    for metric in ("ReadThrottleEvents", "WriteThrottleEvents"):
        assert sorted(map(str, seen[metric])) == sorted(map(str, wanted)), metric
    assert "Requeued" in seen


test_alarms_watch_existing_metrics = proves(
    alarms_watch_existing_metrics,
    misspelled=put("BacklogAlarm", "Properties", "MetricName", "AgeOfOldestMessage"),
    silent=put("DeadLettersAlarm", "Properties", "AlarmActions", []),
    the_wrong_queue=put("DeadLettersAlarm", "Properties", "Dimensions", [{"Name": "QueueName", "Value": {"Ref": "Queue"}}]),
    silent_without_the_sweeper=put("SweeperSilentAlarm", "Properties", "TreatMissingData", "notBreaching"),
    one_index_missing=lambda template: template["Resources"]["TableThrottlesAlarm"]["Properties"]["Metrics"].pop(),
    without_its_filter=put("Requeued", None),
)


def test_the_sweeper_logs_the_field_of_its_metric():
    """`shared/boot` logs JSON with the fields at the top level; the sweeper logs a field `requeued`."""
    _, sweeper = rust.files("functions/sweeper/src")["functions/sweeper/src/main.rs"]
    assert re.search(r"tracing::info!\(\s*requeued = ", sweeper)
    _, logs = rust.files("shared/boot/src")["shared/boot/src/logs.rs"]
    assert ".flatten_event(true)" in logs and ".json()" in logs
    (name,) = Stack().of("AWS::Logs::MetricFilter")
    given = Stack().properties(name)
    assert given["FilterPattern"] == "{ $.requeued > 0 }" and given["MetricTransformations"][0]["MetricValue"] == "$.requeued"
    assert given["LogGroupName"] == Stack().properties("Sweeper")["LoggingConfig"]["LogGroup"]


def test_alarms_are_mailed_only_if_an_address_is_set():
    stack = Stack(AlarmEmail="ops@example.com")
    assert stack.properties("AlarmMail")["Endpoint"] == "ops@example.com" and stack.resources["AlarmMail"]["Condition"] == "HasAlarmEmail"
    assert stack.condition("HasAlarmEmail") and not Stack().condition("HasAlarmEmail")
