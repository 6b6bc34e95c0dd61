"""Creates, updates and deletes the stack of the transformed template on an emulator of CloudFormation."""

import io
import json
import os
import time
import zipfile

import boto3
import deployed
import ministack
import pytest
from deployed import NAME
from stack import Stack

os.environ |= {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with ministack.running(tmp_path_factory.mktemp("ministack")) as url:
        clients = {}

        def of(service):
            return clients.setdefault(service, boto3.client(service, endpoint_url=url))

        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("bootstrap", "#!/bin/sh\nexit 1\n")
        of("s3").create_bucket(Bucket="bucket")
        of("s3").put_object(Bucket="bucket", Key="key", Body=code.getvalue())
        yield of


def template():
    # No worker must receive the messages that the tests send.
    return json.dumps(deployed.template(Stack(), without=["WorkerQueue"]))


def test_a_stack_is_created_updated_and_deleted_and_its_data_is_kept(client):
    cloudformation = client("cloudformation")
    cloudformation.create_stack(StackName=NAME, TemplateBody=template(), Capabilities=["CAPABILITY_IAM"])
    assert deployed.settled(cloudformation) == ("CREATE_COMPLETE", [])
    made = deployed.physical(cloudformation)
    (stack,) = cloudformation.describe_stacks(StackName=NAME)["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    assert outputs["Table"] == made["Table"] and outputs["Bucket"] == made["Bucket"] and outputs["QueueUrl"] == made["Queue"]
    assert outputs["Url"].startswith("https://") and outputs["Url"].endswith("/api")
    assert f"--stack {NAME}" in outputs["CreateKey"] and f"--stack {NAME}" in outputs["DeployApp"]
    variables = client("lambda").get_function_configuration(FunctionName=made["Control"])["Environment"]["Variables"]
    assert variables["RUNYARD_TABLE"] == made["Table"] and variables["RUNYARD_QUEUE_URL"] == made["Queue"]
    assert variables["RUNYARD_METRICS"] == f"Runyard/{NAME}" and variables["RUNYARD_CORS_ORIGINS"] == ""

    # A run in flight: an item, an object, a message.
    item = {"PK": {"S": "RUN#7"}, "SK": {"S": "RUN"}}
    client("dynamodb").put_item(TableName=made["Table"], Item=item)
    client("s3").put_object(Bucket=made["Bucket"], Key="runs/32d/7", Body=b"7")
    client("sqs").send_message(QueueUrl=made["Queue"], MessageBody="7")

    changed = {"CorsOrigins": "https://a.example", "Memory": "1024", "LogLevel": "DEBUG", "AppShards": "2"}
    cloudformation.update_stack(
        StackName=NAME,
        TemplateBody=template(),
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in changed.items()],
    )
    assert deployed.settled(cloudformation) == ("UPDATE_COMPLETE", [])
    assert deployed.physical(cloudformation) == made, "something was replaced"
    variables = client("lambda").get_function_configuration(FunctionName=made["Control"])["Environment"]["Variables"]
    assert variables["RUNYARD_CORS_ORIGINS"] == "https://a.example" and variables["RUNYARD_APP_SHARDS"] == "2"
    assert client("lambda").get_function_configuration(FunctionName=made["Stream"])["MemorySize"] == 1024
    (message,) = client("sqs").receive_message(QueueUrl=made["Queue"])["Messages"]
    assert message["Body"] == "7"

    cloudformation.delete_stack(StackName=NAME)
    for _ in range(40):
        gone = {name for name in ("Worker",) if made[name] not in str(client("lambda").list_functions()["Functions"])}
        if gone:
            break
        time.sleep(0.25)
    assert gone == {"Worker"}
    assert client("dynamodb").get_item(TableName=made["Table"], Key=item)["Item"] == item
    assert client("s3").get_object(Bucket=made["Bucket"], Key="runs/32d/7")["Body"].read() == b"7"
