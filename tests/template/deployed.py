"""Deploys the transformed template on an emulator of CloudFormation, and runs the command line on the stack.

The emulator supports neither alarms on several metrics nor ANY methods; the former are left out here.
"""

import copy
import os
import subprocess
import time

from stack import ROOT

NAME = "runyard"


def template(stack, without=()):
    """Returns the part of a stack that is deployed."""
    given = copy.deepcopy(stack.transformed)
    for name, resource in list(given["Resources"].items()):
        if "Metrics" in resource["Properties"] or name in without:
            del given["Resources"][name]
    return given


def settled(cloudformation):
    """Waits until the stack is no longer in progress; returns its status and the failed resources."""
    for _ in range(240):
        stack = cloudformation.describe_stacks(StackName=NAME)["Stacks"][0]
        if not stack["StackStatus"].endswith("IN_PROGRESS"):
            break
        time.sleep(0.25)
    events = cloudformation.describe_stack_events(StackName=NAME)["StackEvents"]
    failed = [(e["LogicalResourceId"], e.get("ResourceStatusReason")) for e in events if "FAILED" in e["ResourceStatus"]]
    return stack["StackStatus"], failed


def physical(cloudformation):
    """Maps logical ids of the stack's resources to physical ids."""
    resources = cloudformation.describe_stack_resources(StackName=NAME)["StackResources"]
    return {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in resources}


def runyard(command, *arguments, url):
    """Runs the command line on the stack of the emulator at `url`; returns what it prints."""
    environment = os.environ | {"AWS_ENDPOINT_URL": url}
    command = [command, *arguments, "--stack", NAME]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, f"{command}: {result.stderr}"
    return result.stdout
