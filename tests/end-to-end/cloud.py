"""An emulator of AWS with the stack of template.yaml and the built functions: the queue delivers to the worker, and
the sweeper runs every minute."""

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
        """Deploys the whole template, creates a key, and deploys the apps, as an operator does."""
        stack = Stack(self.point_here)
        template = deployed.template(stack)
        s3 = self.client("s3")
        s3.create_bucket(Bucket="bucket")
        for name, binary in BINARIES.items():
            template["Resources"][name]["Properties"]["Code"]["S3Key"] = binary
            s3.put_object(Bucket="bucket", Key=binary, Body=self.package(binary))
        # The emulator treats a parameter's value as text, and fails to compare it with a number.
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
        """Makes functions call the emulator instead of AWS."""
        template["Globals"]["Function"]["Environment"]["Variables"]["AWS_ENDPOINT_URL"] = self.url

    def package(self, binary):
        """Returns the zip of a function; not compressed, since it stays on this machine."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            archive.write(self.built / binary, "bootstrap")
        return packed.getvalue()

    def runyard(self, *arguments):
        return deployed.runyard(self.built / "runyard", *arguments, url=self.url)

    def variables(self, function):
        """Returns the environment of a function of the stack."""
        configuration = self.client("lambda").get_function_configuration(FunctionName=self.names[function])
        return configuration["Environment"]["Variables"]

    def messages(self):
        """Returns the number of messages of the queue, including those in flight and delayed."""
        counts = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"]
        left = self.client("sqs").get_queue_attributes(QueueUrl=self.names["Queue"], AttributeNames=counts)["Attributes"]
        return sum(int(left[count]) for count in counts)

    def sweep(self):
        """Runs the sweeper now instead of at the next full minute, and returns its counts."""
        tick = (ROOT / "events/schedule/tick.json").read_bytes()
        answer = self.client("lambda").invoke(FunctionName=self.names["Sweeper"], Payload=tick)
        swept = json.load(answer["Payload"])
        assert "FunctionError" not in answer, swept
        return swept

    def end_workers(self, how):
        """Sends a signal to every process of the worker, and returns their number. SIGKILL simulates running out of
        memory, SIGTERM the platform's shutdown of an idle environment."""
        ended = 0
        for process in processes(self.names["Worker"]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, how)
                ended += 1
        return ended

    def end_lease(self, run):
        """Sets a run's `due` to a time long past, as if its worker had not renewed the lease for a minute."""
        self.client("dynamodb").update_item(
            TableName=self.names["Table"],
            Key={"PK": {"S": f"RUN#{run}"}, "SK": {"S": "RUN"}},
            UpdateExpression="SET due = :past",
            ConditionExpression="attribute_exists(due)",
            ExpressionAttributeValues={":past": {"N": "1"}},
        )


def processes(function):
    """Returns the processes of a function, without the sandboxes that they started."""
    found = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            variables = (folder / "environ").read_bytes().split(b"\0")
            if f"AWS_LAMBDA_FUNCTION_NAME={function}".encode() in variables:
                # The name may contain any character; the state and the parent follow it.
                found[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    return [process for process, parent in found.items() if parent not in found]


@contextlib.contextmanager
def running(folder, built):
    """Runs a cloud with everything deployed. `built`: the folder of cargo's executables."""
    with ministack.running(folder) as url:
        cloud = Cloud(url, built)
        cloud.deploy()
        yield cloud
