"""template.yaml as CloudFormation gets it: transformed offline by SAM's own translator, parameters resolved."""

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
    """The translator asks for the account's managed policies; a template that names none needs none."""

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
        """A resource's properties, with parameters and conditions resolved."""
        return self.resolve(self.resources[name]["Properties"])

    def timeout(self, function):
        return self.properties(function)["Timeout"]

    def routes(self):
        """`(method, path)` → the integration."""
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
        return self.judge(self.source["Conditions"][name])

    def judge(self, expression):
        (kind, given), = expression.items()
        if kind == "Fn::Not":
            return not self.judge(given[0])
        if kind == "Fn::Equals":
            left, right = (str(self.resolve(side)) for side in given)
            return left == right
        raise AssertionError(f"the tests do not know {kind} in a condition: teach them")


def proves(check, **mutations):
    """A test that the check holds, and that it would notice each of these mutations of the template."""

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
    """A mutation: `put("Queue", "Properties", "VisibilityTimeout", 30)` sets, with `None` at the end it removes."""
    *keys, last, value = path

    def mutate(template):
        place = template["Resources"]
        for key in keys:
            place = place[key]
        if value is None:
            del place[last]
        else:
            place[last] = value

    return mutate
