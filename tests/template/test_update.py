"""A deployment takes effect, and does not disturb running work."""

import re

from stack import FUNCTIONS, Stack, proves, put


def references(value):
    """Returns every name in the template that a value refers to."""
    if isinstance(value, list):
        return {name for item in value for name in references(item)}
    if not isinstance(value, dict):
        return set()
    found = {value["Ref"]} if "Ref" in value else set()
    if "Fn::Sub" in value:
        text = value["Fn::Sub"] if isinstance(value["Fn::Sub"], str) else value["Fn::Sub"][0]
        found |= set(re.findall(r"\$\{([\w:]+)", text))
    if "Fn::If" in value:
        found.add(value["Fn::If"][0])
    return found.union(*(references(item) for item in value.values()))


def the_api_is_deployed_when_it_changes(stack):
    """SAM creates a deployment only when the text of the API changes, so a changed parameter would have no effect on
    it."""
    used = references(stack.resources["Api"]["Properties"]["Body"])
    assert not used & (set(stack.source["Parameters"]) | set(stack.source["Conditions"])), used


test_the_api_is_deployed_when_it_changes = proves(
    the_api_is_deployed_when_it_changes,
    origin_by_parameter=put(
        "Api", "Properties", "GatewayResponses", "THROTTLED", "ResponseParameters", "Headers",
        {"access-control-allow-origin": {"Ref": "Stage"}},
    ),
)


def parameters_reach_the_functions(stack):
    """SAM publishes a version for a change of the template, not of a parameter, which would have no effect behind an
    alias."""
    assert not stack.of("AWS::Lambda::Alias") and not stack.of("AWS::Lambda::Version")


test_parameters_reach_the_functions = proves(
    parameters_reach_the_functions, behind_an_alias=put("Worker", "Properties", "AutoPublishAlias", "live")
)


def test_a_change_of_the_routes_makes_a_deployment():
    def deployment(stack):
        (name,) = stack.of("AWS::ApiGateway::Deployment")
        return name

    changed = put("Api", "Properties", "GatewayResponses", "DEFAULT_5XX", "StatusCode", 502)
    assert deployment(Stack()) != deployment(Stack(changed))


def every_parameter_is_used(stack):
    """Each parameter is used, and has a default, so that one command deploys."""
    elsewhere = {key: value for key, value in stack.source.items() if key not in ("Parameters", "Metadata", "Rules")}
    conditions = str(stack.source["Conditions"])
    for name, parameter in stack.source["Parameters"].items():
        assert "Default" in parameter and parameter.get("Description"), name
        assert name in references(elsewhere) or f"'{name}'" in conditions, f"{name} is not used"


test_every_parameter_is_used = proves(
    every_parameter_is_used,
    unused=lambda template: template["Parameters"].update(Idle={"Type": "String", "Default": "", "Description": "x"}),
    without_default=lambda template: template["Parameters"]["Stage"].pop("Default"),
)


def test_every_parameter_is_in_a_group():
    stack = Stack()
    groups = stack.source["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    listed = [name for group in groups for name in group["Parameters"]]
    assert sorted(listed) == sorted(stack.source["Parameters"])


def test_functions_are_built_from_the_workspace():
    """Each function names its binary, and two share one. SAM's builder supports only the property `Binary`."""
    stack = Stack()
    built = {}
    for name in FUNCTIONS:
        resource = stack.source["Resources"][name]
        assert resource["Metadata"]["BuildMethod"] == "rust-cargolambda"
        assert set(resource["Metadata"]["BuildProperties"]) == {"Binary"}
        built[name] = (resource["Properties"]["CodeUri"], resource["Metadata"]["BuildProperties"]["Binary"])
    assert built["Stream"] == built["Control"] == ("functions/api", "api")
    assert built["Worker"] == ("functions/worker", "worker") and built["Sweeper"] == ("functions/sweeper", "sweeper")


def logs_are_json_and_expire(stack):
    """Each function logs JSON to its own log group, which has a retention."""
    for name in FUNCTIONS:
        logging = stack.properties(name)["LoggingConfig"]
        assert logging["LogFormat"] == "JSON" and logging["LogGroup"] == {"Ref": f"{name}Logs"}, name
    for name in stack.of("AWS::Logs::LogGroup"):
        assert stack.properties(name)["RetentionInDays"] == 30, name
    setting = stack.properties("ApiStage")["AccessLogSetting"]
    assert setting["DestinationArn"] == {"Fn::GetAtt": ["ApiLogs", "Arn"]}
    assert "authorization" not in setting["Format"].lower()


test_logs_are_json_and_expire = proves(
    logs_are_json_and_expire,
    text=put("Sweeper", "Properties", "LoggingConfig", "LogFormat", "Text"),
    kept_for_ever=put("WorkerLogs", "Properties", "RetentionInDays", 3653),
)
