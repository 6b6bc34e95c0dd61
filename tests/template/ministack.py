"""ministack, an emulator of AWS, in a separate virtual environment, on a free port of 127.0.0.1."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.request

from stack import ROOT

PINNED = "ministack==1.5.33"
VENV = ROOT / "target" / PINNED.replace("==", "-")


def installed():
    """Installs the command if necessary, and returns its path."""
    made = VENV / "made-from"
    if not made.exists() or made.read_text() != PINNED:
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
        pip = [VENV / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PINNED]
        subprocess.run(pip, check=True)
        made.write_text(PINNED)
    return VENV / "bin/ministack"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(folder, host="127.0.0.1", port=None):
    """Runs an emulator without persistence, and returns its URL."""
    folder, port = pathlib.Path(folder), port or free_port()
    environment = os.environ | {
        "BIND_HOST": host,
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "LAMBDA_EXECUTOR": "local",
    }
    with open(folder / "ministack.log", "w") as log:
        process = subprocess.Popen([installed()], env=environment, stdout=log, stderr=log, cwd=folder)
        try:
            for _ in range(120):
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/_ministack/health", timeout=2)
                    break
                assert process.poll() is None, (folder / "ministack.log").read_text()
                time.sleep(0.25)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
