"""Each function's role allows exactly the actions that its code calls."""

import re

import calls
import permissions
import pytest
import rust
from stack import FUNCTIONS, Stack, proves, put

# Actions of the platform with a function's role, beside those of its code.
LOGS = {("logs", "logs:CreateLogStream"), ("logs", "logs:PutLogEvents")}
POLLER = {("queue", f"sqs:{action}") for action in ("DeleteMessage", "GetQueueAttributes", "ReceiveMessage")}


def routes():
    """Maps `(method, path)` to the router's handler."""
    file = "shared/http/src/routes/mod.rs"
    source, _ = rust.files("shared/http/src")[file]
    found = {}
    for path, handlers in re.findall(r'\.route\("([^"]+)",\s*((?:[^()]|\([^()]*\))+)\)', source):
        for method, module, name in re.findall(r"\b(get|post|put|delete|patch)\((\w+)::(\w+)\)", handlers):
            found[method.upper(), path] = (module, name)
    assert ("POST", "/v1/runs") in found and len(found) > 8
    return found


def handlers(stack, function):
    """Returns the handlers of the routes that the gateway sends to this function."""
    gateway, found = stack.routes(), []
    for (method, path), (module, name) in routes().items():
        given = gateway.get((method, path)) or gateway.get(("ANY", path)) or gateway["ANY", "/{proxy+}"]
        if f"${{{function}.Arn}}" in given["uri"]["Fn::Sub"]:
            found += [one for one in calls.graph() if one.file.endswith(f"/routes/{module}.rs") and one.name == name]
    return found


def port_methods(stack, function):
    """Returns the ports' methods that a function may call."""
    service = {one.name: one for one in calls.graph() if one.of == "RunService"}
    roots = {"Worker": [service["work"]], "Sweeper": [service["sweep"]]}.get(function) or handlers(stack, function)
    assert roots
    return calls.reached(roots)


def needed(stack, function):
    """Returns `(resource, action)` of everything that the function's code may call."""
    roots = [one for method in port_methods(stack, function) for one in permissions.of_method(method)]
    found = permissions.needed([permissions.of_start(), *roots]) | LOGS
    return found | POLLER if function == "Worker" else found


RESOURCES = {
    "table": [{"Fn::GetAtt": ["Table", "Arn"]}],
    **{f"index/{name}": [{"Fn::Sub": f"${{Table.Arn}}/index/{name}"}] for name in ("by_app", "by_due", "by_session", "by_user")},
    "bucket": [{"Fn::GetAtt": ["Bucket", "Arn"]}],
    **{prefix: [{"Fn::Sub": f"${{Bucket.Arn}}/{prefix}*"}] for prefix in permissions.PREFIXES.values()},
    "queue": [{"Fn::GetAtt": ["Queue", "Arn"]}],
    "secrets": [{"Fn::Sub": "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:${SecretPrefix}*"}],
    "parameters": [{"Fn::Sub": "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter/${SecretPrefix}*"}],
}


def allowed(stack, function):
    """Returns `(resource, action)` of everything that the function's role allows; known resources by name."""
    role = stack.properties(f"{function}Role")
    assert stack.properties(function)["Role"] == {"Fn::GetAtt": [f"{function}Role", "Arn"]}
    assert not role.get("ManagedPolicyArns")
    names = RESOURCES | {"logs": [{"Fn::GetAtt": [f"{function}Logs", "Arn"]}]}
    found = set()
    for policy in role["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            assert statement["Effect"] == "Allow" and "NotAction" not in statement and "NotResource" not in statement
            listed = statement["Action"] == ["s3:ListBucket"]
            assert statement.get("Condition") == ({"StringLike": {"s3:prefix": "files/*"}} if listed else None)
            resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
            for resource in resources:
                (name,) = [name for name, arns in names.items() if resource in arns] or [str(resource)]
                found |= {(name, action) for action in statement["Action"]}
    return found


def policies_match_the_code(stack):
    for function in FUNCTIONS:
        given, wanted = allowed(stack, function), needed(stack, function)
        assert not wanted - given, f"{function} needs actions that its role does not allow: {sorted(wanted - given)}"
        assert not given - wanted, f"{function}'s role allows actions that it does not need: {sorted(given - wanted)}"


def grant(function, *actions, on=None):
    def mutate(template):
        statements = template["Resources"][f"{function}Role"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
        statements.append({"Effect": "Allow", "Action": list(actions), "Resource": on or {"Fn::GetAtt": ["Table", "Arn"]}})

    return mutate


def revoke(function, action):
    def mutate(template):
        for statement in template["Resources"][f"{function}Role"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]:
            statement["Action"] = [one for one in statement["Action"] if one != action]

    return mutate


test_policies_match_the_code = proves(
    policies_match_the_code,
    one_too_many=grant("Stream", "dynamodb:DeleteTable"),
    a_wildcard=grant("Worker", "s3:*", on={"Fn::Sub": "${Bucket.Arn}/*"}),
    everything=grant("Control", "dynamodb:GetItem", on="*"),
    one_missing=revoke("Sweeper", "dynamodb:Query"),
    a_start_that_is_refused=revoke("Sweeper", "sqs:GetQueueAttributes"),
    another_functions_route=lambda template: template["Resources"]["Control"]["Properties"]["Events"].update(
        StreamRun=template["Resources"]["Stream"]["Properties"]["Events"].pop("StreamRun")
    ) or template["Resources"]["Control"]["Properties"]["Events"].update(
        CreateRun=template["Resources"]["Stream"]["Properties"]["Events"].pop("CreateRun")
    ),
    managed=put("Sweeper", "Properties", "Role", {"Fn::GetAtt": ["WorkerRole", "Arn"]}),
)


def test_every_method_of_a_port_is_called_by_some_function():
    """Otherwise the parser misses a call, or the method is unused."""
    stack = Stack()
    called = set().union(*(port_methods(stack, function) for function in FUNCTIONS))
    assert calls.methods() - called == set()


def test_only_services_may_assume_a_role():
    stack = Stack()
    for name in stack.of("AWS::IAM::Role"):
        (statement,) = stack.properties(name)["AssumeRolePolicyDocument"]["Statement"]
        service = "apigateway" if name == "GatewayLogsRole" else "lambda"
        assert statement["Principal"] == {"Service": f"{service}.amazonaws.com"} and statement["Action"] == "sts:AssumeRole"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_parser_finds_known_calls(function):
    """A parser that misses known calls would make the comparison above worthless."""
    stack = Stack()
    methods = port_methods(stack, function)
    assert ("RunStore::due" in methods) == (function == "Sweeper")
    assert ("RunStore::list" in methods) == (function == "Control")
    assert ("RunStore::append" in methods) == (function in ("Stream", "Worker"))
    assert ("RunStore::create" in methods) == (function in ("Stream", "Control")), "a retry is a new run too"
