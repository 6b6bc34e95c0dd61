"""Pastes the commands of the README, the tutorial and docs/people.md into a shell: they work, with the documented
results."""

import contextlib
import os
import re
import shutil
import subprocess
import time

import pytest
from api import TIMEOUT_SECONDS, until
from stack import ROOT

FENCED = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^    .*\n)+", re.MULTILINE)
START = "cargo run -p runyard\n"


def blocks(document, section=""):
    """Returns the blocks of commands of a document; with `section`, the indented blocks of that section."""
    text = (ROOT / document).read_text()
    if section:
        (text,) = re.findall(rf"^{section}\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)
        return [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in INDENTED.findall(text)]
    return FENCED.findall(text)


class Place:
    """A copy of the folders that the commands use, a server on it, and a shell."""

    def __init__(self, folder, built):
        self.folder, self.built, self.server, self.address = folder, built, None, None
        shutil.copytree(ROOT / "apps", folder / "apps")
        (folder / "tests").symlink_to(ROOT / "tests")
        (folder / "target").mkdir()
        (folder / "target/debug").symlink_to(built.resolve())
        self.log, self.variables = folder / "server.log", folder / "variables"
        self.variables.touch()

    def start(self, **environment):
        file = self.folder / "address"
        file.unlink(missing_ok=True)
        # The same address as before, so that variables of the shell remain valid.
        listen = self.address or "127.0.0.1:0"
        command = [self.built / "runyard", "dev", "--listen", listen, "--address-file", file]
        with self.log.open("a") as log:
            environment = os.environ | environment
            self.server = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log)
        until(file.exists, "the server listens")
        self.address = file.read_text().strip()

    def kill(self):
        self.server.kill()
        self.server.wait()

    def paste(self, block):
        """Runs a block in the shell, waits until the server has noticed a change of an app, and returns the output."""
        before = self.log.stat().st_size
        script = self.folder / "script"
        block = block.replace("127.0.0.1:8787", self.address).replace("/tmp/", f"{self.folder}/")
        keep = f"declare -p API AUTH JSON APP RUN REQUEST >{self.variables} 2>{os.devnull}"
        script.write_text(f"set -u -o pipefail\n. {self.variables}\n{block}\n{keep}\n")
        ran = subprocess.run(["bash", script], cwd=self.folder, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
        assert "unbound variable" not in ran.stderr and "command not found" not in ran.stderr, (block, ran.stderr)
        if re.search(r"^(?:cat >|sed -i).*apps/", block, re.MULTILINE):
            until(lambda: self.log.stat().st_size > before, "the server reads the app again")
            time.sleep(0.5)
        return ran.stdout + ran.stderr


@pytest.fixture
def place(tmp_path, request):
    place = Place(tmp_path, request.config.option.built)
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: place.server and place.kill())
        yield place


def paste_all(place, commands):
    return "".join(place.paste(block) for block in commands if block != START)


def test_the_readme_calls_in_three_modes(place):
    place.start()
    output = paste_all(place, blocks("README.md", "## Call it"))
    assert '"category":"billing"' in output, "call and wait"
    assert re.search(r'"status":"(created|started|completed)","started_at".*"The page is down"', output), "call and come back"
    assert "event: run.started" in output and "event: run.completed" in output, "call and watch"


def test_the_tutorial_works_unchanged(place):
    place.start()
    commands = blocks("docs/tutorial.md")
    (first, second) = (index for index, block in enumerate(commands) if block == START)
    output = paste_all(place, commands[first:second])
    for wanted in [
        "Your order costs 37 USD.",
        "event: run.completed",
        '"bad_request"',
        '"node": "price"',
        "did you mean `price`?",
        '"awaiting_input"',
        "Charge Dana 240 USD?",
    ]:
        assert wanted in output, (wanted, output)
    place.kill()
    place.start()
    approve, *follow, clean_up = commands[second + 1 :]
    assert '"message":"ok"' in place.paste(approve)
    output = until(lambda: (output := paste_all(place, follow)) and "completed" in output and output, "the run completes")
    for wanted in ["Your order costs 200 USD.", "approval_request.created", "event: input.received", "event: run.resumed"]:
        assert wanted in output, (wanted, output)
    place.paste(clean_up)
    assert not (place.folder / "apps/orders").exists()


def test_a_person_approves_a_refund_as_documented(place):
    commands = [block for block in blocks("docs/people.md") if block != START]
    model, create, approve, show = commands
    model = ["bash", "-c", f"exec {model.replace(' 9099', '')}"]
    stub = subprocess.Popen(model, cwd=place.folder, stdout=subprocess.PIPE, text=True)
    try:
        url = stub.stdout.readline().strip()
        place.start(OPENAI_URL=url, CUSTOMERS_URL=url.removesuffix("/v1") + "/customers")
        output = place.paste(create)
        assert '"awaiting_input"' in output and '"amount": 900' in output, output
        assert '"message":"ok"' in place.paste(approve)
        output = until(lambda: (output := place.paste(show)) and "event: run.completed" in output and output, "the run completes")
        assert "450.00 USD was refunded" in output and "event: input.received" in output, output
    finally:
        stub.kill()
        stub.wait()
