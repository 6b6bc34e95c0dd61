"""The transformed template as CloudFormation carries it out on an emulator, and the command line on what it made.

The emulator knows neither alarms on several metrics nor ANY methods; the former are left out here.
"""

import copy
import os
import subprocess
import time

from stack import ROOT

NAME = "runyard"


def template(stack, without=()):
    """What is deployed of a stack."""
    given = copy.deepcopy(stack.transformed)
    for name, resource in list(given["Resources"].items()):
        if "Metrics" in resource["Properties"] or name in without:
            del given["Resources"][name]
    return given


def settled(cloudformation):
    """The status of the stack once nothing of it is under way, and what failed."""
    for _ in range(240):
        stack = cloudformation.describe_stacks(StackName=NAME)["Stacks"][0]
        if not stack["StackStatus"].endswith("IN_PROGRESS"):
            break
        time.sleep(0.25)
    events = cloudformation.describe_stack_events(StackName=NAME)["StackEvents"]
    failed = [(e["LogicalResourceId"], e.get("ResourceStatusReason")) for e in events if "FAILED" in e["ResourceStatus"]]
    return stack["StackStatus"], failed


def physical(cloudformation):
    """What the resources of the stack are called."""
    resources = cloudformation.describe_stack_resources(StackName=NAME)["StackResources"]
    return {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in resources}


def runyard(command, *arguments, url):
    """What the command line prints to an operator of the stack on the emulator at `url`."""
    environment = os.environ | {"AWS_ENDPOINT_URL": url}
    command = [command, *arguments, "--stack", NAME]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, f"{command}: {result.stderr}"
    return result.stdout
