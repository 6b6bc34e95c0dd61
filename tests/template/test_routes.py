"""Which function a request reaches, and how its response is transferred."""

import json
import re

from stack import ROOT, Stack, proves, put

STREAMED = {("POST", "/"), ("POST", "/v1/runs"), ("GET", "/v1/runs/{run_id}/stream")}
STREAM_URI = ":lambda:path/2021-11-15/functions/${Stream.Arn}/response-streaming-invocations"
CONTROL_URI = STREAM_URI.replace("Stream", "Control")


def the_executing_routes_stream(stack):
    """Routes that execute or follow a run stream for up to 15 minutes, from the function with a timeout of 15
    minutes."""
    routes = stack.routes()
    for route in STREAMED:
        given = routes.get(route, {})
        assert given.get("responseTransferMode") == "STREAM", route
        assert given["uri"]["Fn::Sub"].endswith(STREAM_URI), route
        assert given.get("timeoutInMillis") == 900_000, route
        assert given["type"].lower() == "aws_proxy", route
    assert stack.timeout("Stream") * 1000 >= 900_000


test_the_executing_routes_stream = proves(
    the_executing_routes_stream,
    buffered=put("Stream", "Properties", "Events", "CreateRun", "Properties", "ResponseTransferMode", None),
    cut_after_29_s=put("Stream", "Properties", "Events", "StreamRun", "Properties", "TimeoutInMillis", None),
    cut_by_the_function=put("Stream", "Properties", "Timeout", 60),
    one_missing=put("Stream", "Properties", "Events", "Call", None),
)


def an_idle_stream_stays_open_for_minutes(stack):
    """An edge-optimized endpoint, SAM's default, cuts after 30 s of silence; a regional one after 5 min."""
    assert stack.properties("Api").get("EndpointConfiguration", {}).get("Types") == ["REGIONAL"]


test_an_idle_stream_stays_open_for_minutes = proves(
    an_idle_stream_stays_open_for_minutes,
    edge=put("Api", "Properties", "EndpointConfiguration", None),
)


def other_routes_answer_at_once(stack):
    """Every other route goes to the control function, and answers within the gateway's 29 s. It streams as well:
    Lambda limits buffered responses to 6 MB, so a large run could not be fetched."""
    for route, given in stack.routes().items():
        if route in STREAMED:
            continue
        assert given["uri"]["Fn::Sub"].endswith(CONTROL_URI), route
        assert given.get("responseTransferMode") == "STREAM", route
        assert given.get("timeoutInMillis", 29_000) == 29_000 >= stack.timeout("Control") * 1000, route


test_other_routes_answer_at_once = proves(
    other_routes_answer_at_once,
    slower_than_the_gateway=put("Control", "Properties", "Timeout", 30),
    whole=put("Control", "Properties", "Events", "Run", "Properties", "ResponseTransferMode", None),
    for_15_minutes=put("Control", "Properties", "Events", "Rest", "Properties", "TimeoutInMillis", 900_000),
    on_the_stream_function=lambda template: template["Resources"]["Stream"]["Properties"]["Events"].update(
        Run=template["Resources"]["Control"]["Properties"]["Events"].pop("Run")
    ),
)


def serves(routes, method, path):
    """Returns the integration of a request, assuming that the gateway does not backtrack: at each level it takes the
    literal child, else the parameter, else the greedy one. A resource without such a method refuses the request."""
    tree = {}
    for verb, template in routes:
        node = tree
        for part in template.split("/")[1:]:
            node = node if part == "" else node.setdefault(part, {})
        node[verb, ""] = routes[verb, template]
    node = tree
    for part in path.split("/")[1:]:
        children = [child for child in node if isinstance(child, str)]
        greedy = next((child for child in children if child.endswith("+}")), None)
        parameter = next((child for child in children if child.startswith("{") and child != greedy), None)
        if part == "":
            continue
        if part in node:
            node = node[part]
        elif parameter:
            node = node[parameter]
        elif greedy:
            node = node[greedy]
            break
        else:
            return None
    return node.get((method, "")) or node.get(("ANY", ""))


def every_route_of_the_document_is_served(stack):
    """Each path of openapi.json, each level above it, and unknown paths reach one of the functions."""
    routes = stack.routes()
    document = json.loads((ROOT / "openapi.json").read_text())
    wanted = {
        (method.upper(), re.sub(r"\{[^}]*\}", "7", path))
        for path, operations in document["paths"].items()
        for method in operations
        if method in {"get", "post", "put", "delete", "patch"}
    }
    assert len(wanted) > 10
    for _, path in list(wanted):
        wanted |= {("OPTIONS", path), ("PUT", path)}
        while path != "/":
            path = path.rsplit("/", 1)[0] or "/"
            wanted.add(("GET", path))
    wanted |= {("GET", "/nothing/here"), ("GET", "/v1/runs/7/nothing/here"), ("DELETE", "/v1/runs"), ("POST", "/")}
    for method, path in sorted(wanted):
        assert serves(routes, method, path), f"the gateway itself refuses {method} {path}"


test_every_route_of_the_document_is_served = proves(
    every_route_of_the_document_is_served,
    no_greedy_below_a_run=put("Control", "Properties", "Events", "RunRest", None),
    a_level_without_a_method=put("Control", "Properties", "Events", "V1", None),
    no_preflight_on_a_stream=put("Control", "Properties", "Events", "RunStream", None),
)


def the_gateway_may_call_what_it_routes_to(stack):
    """Each function has a permission for each of its routes."""
    allowed = {"Stream": set(), "Control": set()}
    for permission in stack.of("AWS::Lambda::Permission").values():
        given = permission["Properties"]
        if given["Principal"] == "apigateway.amazonaws.com":
            function = (given["FunctionName"].get("Ref") or given["FunctionName"]["Fn::GetAtt"][0])
            allowed[function].add(given["SourceArn"]["Fn::Sub"][0].split("${__Stage__}")[1])
    for (method, path), given in stack.routes().items():
        function = re.search(r"\$\{(\w+)\.Arn\}", given["uri"]["Fn::Sub"])[1]
        wanted = "/" + method.replace("ANY", "*") + re.sub(r"\{[^}]*\}", "*", path)
        assert wanted in allowed[function], f"{function} may not be called for {method} {path}: {sorted(allowed[function])}"


def test_the_gateway_may_call_what_it_routes_to():
    the_gateway_may_call_what_it_routes_to(Stack())


def bodies_of_4_mib_fit(stack):
    """Lambda accepts 6 MB of JSON. Base64 always grows a body by a third; as text, quotes would double in size."""
    assert stack.properties("Api").get("BinaryMediaTypes") == ["*~1*"]
    lambda_takes, heads = 6 * 1024 * 1024, 128 * 1024
    assert 4 * 1024 * 1024 * 4 / 3 + heads < lambda_takes


test_bodies_of_4_mib_fit = proves(
    bodies_of_4_mib_fit, only_multipart=put("Api", "Properties", "BinaryMediaTypes", ["multipart~1form-data"])
)


def no_second_stage_is_made(stack):
    """Without a version of OpenAPI, SAM creates an additional stage named `Stage`."""
    assert stack.properties("Api")["Body"].get("openapi", "").startswith("3.")
    deployments = stack.of("AWS::ApiGateway::Deployment").values()
    assert deployments and all("StageName" not in deployment["Properties"] for deployment in deployments)


test_no_second_stage_is_made = proves(no_second_stage_is_made, swagger=put("Api", "Properties", "OpenApiVersion", None))
