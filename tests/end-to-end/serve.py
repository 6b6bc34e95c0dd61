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
with cloud.running(folder, built) as place, api.watched(place, folder, command, ["--features", features]) as served:
    print(f"API={served.url}\nKEY={served.key}\nexport AWS_ENDPOINT_URL={place.url}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()
