"""The permissions that a port's methods need: the IAM actions of the AWS operations that `shared/aws` calls for
them."""

import functools
import re

import calls
import rust

# SDK operation → IAM actions. A transaction needs the actions of its members, which the code creates with builders.
ACTIONS = {
    "batch_get_item": {"dynamodb:BatchGetItem"},
    "batch_write_item": {"dynamodb:BatchWriteItem"},
    "delete_item": {"dynamodb:DeleteItem"},
    "get_item": {"dynamodb:GetItem"},
    "put_item": {"dynamodb:PutItem"},
    "query": {"dynamodb:Query"},
    "scan": {"dynamodb:Scan"},
    "transact_get_items": {"dynamodb:GetItem"},
    "transact_write_items": set(),
    "update_item": {"dynamodb:UpdateItem"},
    "abort_multipart_upload": {"s3:AbortMultipartUpload"},
    "complete_multipart_upload": {"s3:PutObject"},
    "copy_object": {"s3:GetObject", "s3:PutObject"},
    "create_multipart_upload": {"s3:PutObject"},
    "delete_object": {"s3:DeleteObject"},
    "delete_objects": {"s3:DeleteObject"},
    "get_object": {"s3:GetObject"},
    "head_object": {"s3:GetObject"},
    "list_objects_v2": {"s3:ListBucket"},
    "list_parts": {"s3:ListMultipartUploadParts"},
    "put_object": {"s3:PutObject"},
    "upload_part": {"s3:PutObject"},
    "get_queue_attributes": {"sqs:GetQueueAttributes"},
    "send_message": {"sqs:SendMessage"},
    "send_message_batch": {"sqs:SendMessage"},
    "get_secret_value": {"secretsmanager:GetSecretValue"},
    "get_parameter": {"ssm:GetParameter"},
    "get_parameters": {"ssm:GetParameters"},
}
MEMBERS = {
    "ConditionCheck": {"dynamodb:ConditionCheckItem"},
    "Delete": {"dynamodb:DeleteItem"},
    "Put": {"dynamodb:PutItem"},
    "Update": {"dynamodb:UpdateItem"},
}
# Any call on a client of the SDK, to detect operations that are not listed above.
CLIENT = re.compile(r"\b(?:client|dynamodb|s3|sqs|ssm|secrets_manager|secretsmanager)(?:\(\))?\s*\.(\w+)\(\)")
NO_OPERATION = {"clone", "config"}
# File of shared/aws → prefix of the objects that it accesses.
PREFIXES = {"apps/": "apps/", "files/": "files/", "bodies.rs": "runs/"}
# Names in shared/aws that are usually methods of the standard library or of the SDK's builders.
COMMON = {
    "all", "build", "clear", "complete", "create", "delete", "drop", "entry", "extend", "find", "finish", "first", "get", "insert", "item",
    "items", "key", "keys", "last", "list", "load", "lock", "new", "next", "now", "number", "open", "page", "parse", "put", "query",
    "read", "remove", "retain", "send", "store", "take", "text", "time", "update", "version", "write",
}
AWS = "shared/aws/src"


@functools.cache
def edges():
    return rust.call_graph(rust.functions(AWS), COMMON)


def resource_of(action, file):
    if action == "s3:ListBucket":
        return "bucket"
    if action.startswith("s3:"):
        (prefix,) = [prefix for start, prefix in PREFIXES.items() if file.startswith(f"{AWS}/{start}")]
        return prefix
    return {"dynamodb": "table", "sqs": "queue", "secretsmanager": "secrets", "ssm": "parameters"}[action.split(":")[0]]


def needed(roots):
    """Returns `(resource, action)` of everything that these functions of `shared/aws` may call."""
    found, reached = set(), rust.reachable(edges(), roots)
    for function in reached:
        called = set(re.findall(r"\.(\w+)\(\)", function.code))
        unknown = set(CLIENT.findall(function.code)) - set(ACTIONS) - NO_OPERATION
        assert not unknown, f"{function}: add the actions of {unknown} to ACTIONS"
        actions = {action for operation in called & set(ACTIONS) for action in ACTIONS[operation]}
        _, code = rust.files(AWS)[function.file]
        imported = " ".join(re.findall(r"\buse aws_sdk_dynamodb\b[^;]*;", code))  # S3 has another `Delete`
        for member, of_member in MEMBERS.items():
            known_as = re.findall(rf"\b{member} as (\w+)", imported) or re.findall(rf"\b{member}\b", imported)
            if any(re.search(rf"\b{name}::builder\(", function.code) for name in known_as):
                actions |= of_member
        found |= {(resource_of(action, function.file), action) for action in actions}
    if any(re.search(r"\.index_name\(", function.code) for function in reached):
        source, _ = rust.files(AWS)[f"{AWS}/table.rs"]
        for constant in {name for function in reached for name in re.findall(r"\bBY_[A-Z]+\b", function.code)}:
            name = re.search(rf'pub const {constant}: Index\s*=\s*Index\s*\{{\s*name:\s*"(\w+)"', source)[1]
            found.add((f"index/{name}", "dynamodb:Query"))
    return found


def of_method(method):
    """Returns the functions that implement `Port::method`, or those that its default implementation calls."""
    trait, name = method.split("::")
    found = [function for function in edges() if function.trait == trait and function.name == name]
    if not found:
        found = [function for other in calls.provided().get(method, ()) for function in of_method(other)]
    assert found, f"no function of {AWS} implements {method}"
    return found


def of_start():
    """Returns the function that opens connections at the start."""
    (found,) = [function for function in edges() if function.of == "Aws" and function.name == "warm"]
    return found
