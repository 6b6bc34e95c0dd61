"""Responses of API Gateway itself have the API's error format."""

import json
import re
from http import HTTPStatus

from stack import ROOT, proves, put

# The gateway's own responses, and their status in the contract.
STATUS = {
    "DEFAULT_4XX": 400,
    "UNAUTHORIZED": 401,
    "ACCESS_DENIED": 403,
    "EXPIRED_TOKEN": 403,
    "INVALID_API_KEY": 403,
    "INVALID_SIGNATURE": 403,
    "WAF_FILTERED": 403,
    "MISSING_AUTHENTICATION_TOKEN": 404,
    "RESOURCE_NOT_FOUND": 404,
    "REQUEST_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "QUOTA_EXCEEDED": 429,
    "THROTTLED": 429,
    "DEFAULT_5XX": 500,
    "INTEGRATION_FAILURE": 503,
    "INTEGRATION_TIMEOUT": 504,
}
# Reason phrases of the `http` crate, which the API's own errors use.
PHRASE = {413: "Payload Too Large"}


def responses(stack):
    return stack.properties("Api")["Body"]["x-amazon-apigateway-gateway-responses"]


def body(response):
    template = response["responseTemplates"]["application/json"]
    assert set(re.findall(r"\$[\w.]+", template)) <= {"$context.requestId", "$context.error.messageString"}
    return json.loads(template.replace("$context.requestId", "7").replace("$context.error.messageString", '"why"'))


def refusals_are_in_the_error_format(stack):
    """Code, message, details by field and request id match `ErrorResponse` of openapi.json."""
    schemas = json.loads((ROOT / "openapi.json").read_text())["components"]["schemas"]
    known = schemas["ErrorBody"]["properties"]
    assert set(responses(stack)) == set(STATUS)
    for kind, response in responses(stack).items():
        status = STATUS[kind]
        phrase = PHRASE.get(status, HTTPStatus(status).phrase)
        assert int(response["statusCode"]) == status, kind
        error = body(response)["error"]
        assert set(error) <= set(known) and set(schemas["ErrorBody"]["required"]) <= set(error), kind
        assert error["message"] == phrase, kind
        assert error["code"] == phrase.lower().replace(" ", "_"), kind
        assert error["request_id"] == "7", kind
        assert all(isinstance(text, str) for text in error.get("details", {}).values()), kind


def answer(kind, **change):
    return lambda template: template["Resources"]["Api"]["Properties"]["GatewayResponses"][kind].update(change)


test_refusals_are_in_the_error_format = proves(
    refusals_are_in_the_error_format,
    gateways_own=answer("THROTTLED", ResponseTemplates={"application/json": '{"error":{"message":"$context.requestId"}}'}),
    status=answer("MISSING_AUTHENTICATION_TOKEN", StatusCode=403),
    one_missing=put("Api", "Properties", "GatewayResponses", "REQUEST_TOO_LARGE", None),
)


def headers(stack, kind):
    given = responses(stack)[kind]["responseParameters"]
    return {name.removeprefix("gatewayresponse.header."): value for name, value in given.items()}


def refusals_have_the_headers_of_the_contract(stack):
    """Each has the request id and is readable by pages of all origins; some have `retry-after` or
    `www-authenticate`."""
    for kind in STATUS:
        assert headers(stack, kind).get("x-request-id") == "context.requestId", kind
        assert headers(stack, kind).get("access-control-allow-origin") == "'*'", kind
    for kind in ("THROTTLED", "QUOTA_EXCEEDED", "INTEGRATION_FAILURE"):
        assert re.fullmatch(r"'[1-9]\d*'", headers(stack, kind).get("retry-after", "")), kind
    assert headers(stack, "UNAUTHORIZED").get("www-authenticate") == "'Bearer'"


test_refusals_have_the_headers_of_the_contract = proves(
    refusals_have_the_headers_of_the_contract,
    at_once=answer("THROTTLED", ResponseParameters={"Headers": {"x-request-id": "context.requestId"}}),
)


def too_large_names_the_alternative(stack):
    """The request does not reach a function, so the gateway must name the other ways to send a file."""
    text = body(responses(stack)["REQUEST_TOO_LARGE"])["error"]["details"]["body"]
    for word in ("4 MiB", "POST /v1/files", "name, size, mime_type", "file_ids"):
        assert word in text, word


test_too_large_names_the_alternative = proves(
    too_large_names_the_alternative,
    silent=answer(
        "REQUEST_TOO_LARGE",
        ResponseTemplates={"application/json": '{"error":{"details":{"body":"too large"}}}'},
    ),
)
