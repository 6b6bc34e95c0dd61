"""Serves everything until interrupted, for manual use: serve.py FOLDER BUILT CARGO-LAMBDA FEATURES"""

import contextlib
import os
import pathlib
import signal
import sys

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
os.environ |= {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}

import api
import cloud

folder, built, command, features = sys.argv[1:]
folder = pathlib.Path(folder)
arguments, log = ["--features", features], folder / "watch.log"
with cloud.running(folder, built) as place, api.watched(api.on_the_stack(place), place.key, log, command, arguments) as served:
    # A process in the background ignores SIGINT by default, and a supervisor sends SIGTERM.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    operator = ("AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    variables = [f"AWS_ENDPOINT_URL={place.url}", *(f"{name}={os.environ[name]}" for name in operator)]
    print(f"API={served.url}", f"KEY={served.key}", f"export {' '.join(variables)}", sep="\n", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()
