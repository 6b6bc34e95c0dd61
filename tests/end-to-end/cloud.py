"""An emulator of AWS with the stack of template.yaml, whose functions are the built ones: what the queue delivers reaches the
worker, and each minute the sweeper looks."""

import contextlib
import io
import json
import os
import pathlib
import re
import zipfile

import boto3
import deployed
import ministack
from stack import ROOT, Stack

APPS = (ROOT / "apps/echo", ROOT / "tests/end-to-end/apps/steps", ROOT / "tests/end-to-end/apps/talk")
BINARIES = {"Stream": "api", "Control": "api", "Worker": "worker", "Sweeper": "sweeper"}


class Cloud:
    def __init__(self, url, built):
        self.url, self.built = url, pathlib.Path(built)

    def client(self, service):
        return boto3.client(service, endpoint_url=self.url)

    def deploy(self):
        """All of the template, a key, and the apps, each as an operator does it."""
        stack = Stack(self.point_here)
        template = deployed.template(stack)
        s3 = self.client("s3")
        s3.create_bucket(Bucket="bucket")
        for name, binary in BINARIES.items():
            template["Resources"][name]["Properties"]["Code"]["S3Key"] = binary
            s3.put_object(Bucket="bucket", Key=binary, Body=self.package(binary))
        # A parameter's value is text to the emulator, which then compares it with a number.
        template["Resources"]["WorkerQueue"]["Properties"] = stack.properties("WorkerQueue")
        cloudformation = self.client("cloudformation")
        cloudformation.create_stack(
            StackName=deployed.NAME,
            TemplateBody=json.dumps(template),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": "DefaultApp", "ParameterValue": "echo"}],
        )
        assert deployed.settled(cloudformation) == ("CREATE_COMPLETE", [])
        self.names = deployed.physical(cloudformation)
        organization = re.search(r"^organization: (\S+)", (APPS[0] / "app.yaml").read_text(), re.MULTILINE)[1]
        made = self.runyard("keys", "create", "--org", organization, "--json")
        self.key = json.loads(made)["key"]
        for app in APPS:
            self.runyard("apps", "deploy", app)

    def point_here(self, template):
        """Has functions ask the emulator instead of AWS."""
        template["Globals"]["Function"]["Environment"]["Variables"]["AWS_ENDPOINT_URL"] = self.url

    def package(self, binary):
        """The zip of a function. Not packed: nobody sends it anywhere."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            archive.write(self.built / binary, "bootstrap")
        return packed.getvalue()

    def runyard(self, *arguments):
        return deployed.runyard(self.built / "runyard", *arguments, url=self.url)

    def variables(self, function):
        """The environment that the stack gives to a function."""
        configuration = self.client("lambda").get_function_configuration(FunctionName=self.names[function])
        return configuration["Environment"]["Variables"]

    def messages(self):
        """How many messages the queue has, those that a worker was given and has not done included."""
        counts = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"]
        left = self.client("sqs").get_queue_attributes(QueueUrl=self.names["Queue"], AttributeNames=counts)["Attributes"]
        return sum(int(left[count]) for count in counts)

    def sweep(self):
        """What the sweeper did, looked at now instead of at the next full minute."""
        tick = (ROOT / "events/schedule/tick.json").read_bytes()
        answer = self.client("lambda").invoke(FunctionName=self.names["Sweeper"], Payload=tick)
        swept = json.load(answer["Payload"])
        assert "FunctionError" not in answer, swept
        return swept

    def end_workers(self, how):
        """Sends a signal to every process of the worker: SIGKILL as to one that is out of memory, SIGTERM as to one that the
        platform is done with. Says how many there were."""
        ended = 0
        for process in processes(self.names["Worker"]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, how)
                ended += 1
        return ended

    def end_lease(self, run):
        """Sets a run's `due` to a time long past: whoever holds it has not renewed its lease for a minute."""
        self.client("dynamodb").update_item(
            TableName=self.names["Table"],
            Key={"PK": {"S": f"RUN#{run}"}, "SK": {"S": "RUN"}},
            UpdateExpression="SET due = :past",
            ConditionExpression="attribute_exists(due)",
            ExpressionAttributeValues={":past": {"N": "1"}},
        )


def processes(function):
    """The processes of a function, without the sandboxes that they started."""
    found = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            variables = (folder / "environ").read_bytes().split(b"\0")
            if f"AWS_LAMBDA_FUNCTION_NAME={function}".encode() in variables:
                # After the name, which may hold anything: the state, and the parent.
                found[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    return [process for process, parent in found.items() if parent not in found]


@contextlib.contextmanager
def running(folder, built):
    """A cloud with everything deployed. `built`: the folder of cargo's executables."""
    with ministack.running(folder) as url:
        cloud = Cloud(url, built)
        cloud.deploy()
        yield cloud
