"""`sam validate --lint`, which is cfn-lint on the transformed template."""

import pathlib
import subprocess
import sys

from stack import ROOT, TEMPLATE

SAM = pathlib.Path(sys.executable).with_name("sam")


def validate(template):
    command = [SAM, "validate", "--lint", "--template-file", template, "--region", "us-east-1"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_template_is_valid():
    result = validate(TEMPLATE)
    assert result.returncode == 0, result.stdout + result.stderr


def test_lint_detects_an_error(tmp_path):
    text = TEMPLATE.read_text()
    broken = tmp_path / "template.yaml"
    broken.write_text(text.replace("BillingMode: PAY_PER_REQUEST", "BillingMode: PAY_PER_GUESS"))
    assert broken.read_text() != text
    result = validate(broken)
    assert result.returncode != 0 and "PAY_PER_GUESS" in result.stdout + result.stderr
