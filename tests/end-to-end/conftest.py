import os
import pathlib

import api as client
import cloud as place
import pytest

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
os.environ |= {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}


def pytest_addoption(parser):
    parser.addoption("--folder", type=pathlib.Path, help="where the emulator and `cargo lambda watch` log")
    parser.addoption("--built", type=pathlib.Path, help="the folder of cargo's executables")
    parser.addoption("--cargo-lambda", help="the command")
    parser.addoption("--features", help="the features that the executables were built with")


@pytest.fixture(scope="session")
def cloud(request):
    with place.running(request.config.option.folder, request.config.option.built) as cloud:
        yield cloud


@pytest.fixture(scope="session")
def api(cloud, request):
    option = request.config.option
    # The same features as in the build, so that cargo compiles nothing again.
    arguments, log = ["--features", option.features], option.folder / "watch.log"
    with client.watched(client.on_the_stack(cloud), cloud.key, log, option.cargo_lambda, arguments) as api:
        yield api
