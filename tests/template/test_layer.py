"""The interpreter of Python nodes is a layer of the functions that execute runs, and of no other."""

import re

from stack import FUNCTIONS, ROOT, Stack, proves, put

EXECUTORS = {"Stream", "Worker"}
LAYER = "PythonLayer"


def layers(stack, function):
    """Returns the function's layers with the interpreter. The translator appends a hash of the content to a layer's
    name."""
    return [layer for layer in stack.properties(function).get("Layers", []) if layer.get("Ref", "").startswith(LAYER)]


def executors_have_the_interpreter(stack):
    assert {function for function in FUNCTIONS if layers(stack, function)} == EXECUTORS
    (made,) = stack.of("AWS::Lambda::LayerVersion")
    assert all(layers(stack, function) == [{"Ref": made}] for function in EXECUTORS)
    properties = stack.properties(made)
    assert properties["CompatibleArchitectures"] == [stack.parameters["Architecture"]]


test_executors_have_the_interpreter = proves(
    executors_have_the_interpreter,
    none=put("Worker", "Properties", "Layers", None),
    everywhere=put("Control", "Properties", "Layers", [{"Ref": LAYER}]),
    another_architecture=put(LAYER, "Properties", "CompatibleArchitectures", ["arm64"]),
)


def test_without_python_nodes_no_function_loads_it():
    stack = Stack(Python="false")
    assert not any(layers(stack, function) for function in FUNCTIONS)
    (made,) = stack.of("AWS::Lambda::LayerVersion")
    assert not stack.condition(stack.resources[made]["Condition"])


def test_a_collector_is_an_additional_layer():
    collector = "arn:aws:lambda:eu-central-1:123456789012:layer:collector:1"
    of = Stack(CollectorLayer=collector).properties
    assert collector in of("Stream")["Layers"] and len(of("Stream")["Layers"]) == 2
    assert of("Control")["Layers"] == [collector]


def test_the_layer_has_the_program_that_the_functions_start():
    """Lambda unpacks a layer in `/opt`; `sam build` makes the target that is named after the layer."""
    wanted = re.search(r'const LAYER: &str = "/opt/([^"]+)"', (ROOT / "shared/boot/src/engine.rs").read_text())[1]
    makefile = (ROOT / "functions/python/Makefile").read_text()
    assert re.search(rf"^build-{LAYER}:$", makefile, re.MULTILINE)
    assert re.search(rf'^\tmv .* "\$\(ARTIFACTS_DIR\)/{wanted}"$', makefile, re.MULTILINE)
    layer = Stack().source["Resources"][LAYER]
    # Built in the workspace: by default SAM copies only the layer's folder, which lacks manifest and lockfile.
    assert layer["Metadata"] == {"BuildMethod": "makefile", "WorkingDirectory": "."}
    assert layer["Properties"]["ContentUri"] == "functions/python"
