"""samconfig.toml uses only options of SAM and parameters of the template."""

import tomllib

from samcli.commands.deploy.command import cli as deploy

from stack import ROOT, Stack

CONFIG = tomllib.loads((ROOT / "samconfig.toml").read_text())
ENVIRONMENTS = {name: given for name, given in CONFIG.items() if isinstance(given, dict)}


def test_every_option_is_one_of_sams():
    known = {parameter.name for parameter in deploy.params}
    for name, given in ENVIRONMENTS.items():
        options = given["deploy"]["parameters"] | given["global"]["parameters"]
        assert set(options) <= known, (name, set(options) - known)


def test_one_command_deploys():
    """The configuration has all that SAM would prompt for: the stack's name, a bucket for the code, and consent to
    create roles."""
    for name, given in ENVIRONMENTS.items():
        assert given["global"]["parameters"]["stack_name"], name
        assert given["deploy"]["parameters"]["resolve_s3"] is True, name
        assert given["deploy"]["parameters"]["capabilities"] == "CAPABILITY_IAM", name
    stacks = [given["global"]["parameters"]["stack_name"] for given in ENVIRONMENTS.values()]
    assert len(set(stacks)) == len(stacks)


def test_every_override_is_a_valid_value_of_a_parameter():
    for given in ENVIRONMENTS.values():
        for override in given["deploy"]["parameters"].get("parameter_overrides", []):
            name, value = override.split("=", 1)
            parameter = Stack().source["Parameters"][name]
            if "AllowedValues" in parameter:
                assert value in map(str, parameter["AllowedValues"]), override
            if parameter["Type"] == "Number":
                assert parameter.get("MinValue", 0) <= int(value) <= parameter.get("MaxValue", 10**9), override
