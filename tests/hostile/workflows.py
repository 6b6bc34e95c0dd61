"""Builds workflow files."""


def indented(text, width):
    return "".join(" " * width + line + "\n" for line in text.strip("\n").split("\n"))


def workflow(nodes, connections=""):
    """A workflow of an Input, these nodes, and an Output that returns the output of the last one."""
    names = [name for name, _ in nodes]
    text = "connections:\n" + indented(connections, 2) if connections else ""
    text += "nodes:\n  input: {type: dynamiq.nodes.utils.Input}\n"
    for name, body in nodes:
        text += f"  {name}:\n" + indented(body, 4)
    last = names[-1]
    text += f"  output: {{type: dynamiq.nodes.utils.Output, depends: [{{node: {last}}}], "
    text += f"input_transformer: {{path: $.{last}.output}}}}\n"
    return text + f"flows: {{f: {{nodes: [input, {', '.join(names)}, output]}}}}\nworkflows: {{w: {{flow: f}}}}\n"


def node(kind, fields="", transformer="path: $.input.output"):
    """One node that depends on the Input."""
    return f"type: dynamiq.nodes.{kind}\ndepends: [{{node: input}}]\ninput_transformer: {{{transformer}}}\n{fields}"


def single(kind, fields="", transformer="path: $.input.output"):
    return workflow([("node", node(kind, fields, transformer))])


def template(text):
    return single("transformers.TextTemplate", "template: |\n" + indented(text, 2))


def python(code):
    return single("tools.Python", "code: |\n" + indented(code, 2))


def selector(path):
    return single("operators.Pass", transformer=f"selector: {{x: '{path}'}}")


ECHO = """nodes:
  input: {type: dynamiq.nodes.utils.Input}
  output: {type: dynamiq.nodes.utils.Output, depends: [{node: input}], input_transformer: {path: $.input.output}}
flows: {f: {nodes: [input, output]}}
workflows: {w: {flow: f}}
"""
