"""Writes the table of parameters into docs/deploy.md, from the template.

    target/sam-venv/bin/python tests/template/document.py
"""

import re

from stack import ROOT, source

DOCUMENT = ROOT / "docs" / "deploy.md"
PARAMETERS = re.compile(r"(?<=<!-- parameters -->\n).*?(?=<!-- /parameters -->)", re.DOTALL)


def table():
    """Returns the table of the parameters, in the order of their groups."""
    template = source()
    lines = ["| parameter | default | meaning |", "| --- | --- | --- |"]
    for group in template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]:
        for name in group["Parameters"]:
            parameter = template["Parameters"][name]
            default = f"`{parameter['Default']}`" if parameter["Default"] != "" else "none"
            lines.append(f"| `{name}` | {default} | {' '.join(parameter['Description'].split())} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(PARAMETERS.sub(lambda _: table(), DOCUMENT.read_text()))
