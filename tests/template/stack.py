"""template.yaml as CloudFormation receives it: transformed offline by SAM's own translator, with parameters
resolved."""

import copy
import functools
import pathlib

import pytest
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "template.yaml"
FUNCTIONS = ("Stream", "Control", "Worker", "Sweeper")


class NoManagedPolicies:
    """The translator loads the account's managed policies; the template refers to none."""

    def load(self):
        return {}


@functools.cache
def source():
    return yaml_parse(TEMPLATE.read_text())


class Stack:
    """The transformed template. `mutate` changes the source first; `parameters` replace defaults."""

    def __init__(self, mutate=None, **parameters):
        self.source = copy.deepcopy(source())
        if mutate:
            mutate(self.source)
            assert self.source != source(), "the mutation changed nothing"
        self.parameters = {
            name: parameters.get(name, parameter.get("Default"))
            for name, parameter in self.source["Parameters"].items()
        }
        given = copy.deepcopy(self.source)
        for resource in given["Resources"].values():
            if resource["Type"] == "AWS::Serverless::Function":
                resource["Properties"]["CodeUri"] = "s3://bucket/key"
            if resource["Type"] == "AWS::Serverless::LayerVersion":
                resource["Properties"]["ContentUri"] = "s3://bucket/key"
        self.transformed = transform(given, parameters, NoManagedPolicies())
        self.resources = self.transformed["Resources"]

    def of(self, kind):
        return {name: resource for name, resource in self.resources.items() if resource["Type"] == kind}

    def properties(self, name):
        """Returns a resource's properties, with parameters and conditions resolved."""
        return self.resolve(self.resources[name]["Properties"])

    def timeout(self, function):
        return self.properties(function)["Timeout"]

    def routes(self):
        """Maps `(method, path)` to the integration."""
        paths = self.properties("Api")["Body"]["paths"]
        return {
            ("ANY" if "any" in method else method.upper(), path): operation["x-amazon-apigateway-integration"]
            for path, operations in paths.items()
            for method, operation in operations.items()
        }

    def resolve(self, value):
        if isinstance(value, list):
            resolved = [self.resolve(item) for item in value]
            return [item for item in resolved if item != {"Ref": "AWS::NoValue"}]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            (kind, given), = value.items()
            if kind == "Ref" and given in self.parameters:
                parameter = self.parameters[given]
                if self.source["Parameters"][given]["Type"] == "CommaDelimitedList":
                    return str(parameter).split(",")
                return parameter
            if kind == "Fn::If":
                condition, then, other = given
                return self.resolve(then if self.condition(condition) else other)
            if kind == "Fn::Join":
                separator, items = given[0], self.resolve(given[1])
                if isinstance(items, list) and all(isinstance(item, str) for item in items):
                    return separator.join(items)
        resolved = {key: self.resolve(item) for key, item in value.items()}
        return {key: item for key, item in resolved.items() if item != {"Ref": "AWS::NoValue"}}

    def condition(self, name):
        return self.evaluate(self.source["Conditions"][name])

    def evaluate(self, expression):
        (kind, given), = expression.items()
        if kind == "Fn::Not":
            return not self.evaluate(given[0])
        if kind == "Fn::Equals":
            left, right = (str(self.resolve(side)) for side in given)
            return left == right
        raise AssertionError(f"the tests do not support {kind} in a condition: add it here")


def proves(check, **mutations):
    """Returns a test that the check passes, and that it fails for each of these mutations of the template."""

    @pytest.mark.parametrize("mutation", [None, *mutations], ids=lambda name: name or "holds")
    def test(mutation):
        if mutation is None:
            check(Stack())
            return
        broken = Stack(mutations[mutation])
        with pytest.raises(AssertionError):
            check(broken)

    test.__doc__ = check.__doc__
    return test


def put(*path):
    """Returns a mutation: `put("Queue", "Properties", "VisibilityTimeout", 30)` sets a value, `None` removes it."""
    *keys, last, value = path

    def mutate(template):
        parent = template["Resources"]
        for key in keys:
            parent = parent[key]
        if value is None:
            del parent[last]
        else:
            parent[last] = value

    return mutate
