"""Serves all of it until it is interrupted, for use by hand: serve.py FOLDER BUILT CARGO-LAMBDA FEATURES"""

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
    # Also where it was started in the background, which ignores interrupts, or is ended by a supervisor.
    for asked in (signal.SIGINT, signal.SIGTERM):
        signal.signal(asked, signal.default_int_handler)
    operator = ("AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    variables = [f"AWS_ENDPOINT_URL={place.url}", *(f"{name}={os.environ[name]}" for name in operator)]
    print(f"API={served.url}", f"KEY={served.key}", f"export {' '.join(variables)}", sep="\n", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()
