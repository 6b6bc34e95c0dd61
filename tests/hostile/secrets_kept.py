"""Secrets of connections: sent to their origin only, and never shown."""

import json
import os
import stat
import urllib.parse

from case import LIMITS, Case
from outside import Outside
from server import FOLDER, Server, fresh, write_app
from workflows import ECHO, node, workflow


def http_tool(url, connection="", extra=""):
    connections = f"c: {{type: dynamiq.connections.Http, method: GET, url: '{url}'{connection}}}"
    return workflow([("node", node("tools.HttpApiCall", "connection: c\n" + extra))], connections)


def model(kind, connection, fields="model: m\n"):
    prompt = "prompt: {messages: [{role: user, content: my private text}]}\n"
    return workflow([("node", node(f"llms.{kind}", f"connection: c\n{fields}{prompt}"))], f"c: {connection}")


def elsewhere(_world):
    """A connection's secrets are not sent to another origin: neither with a URL of the input nor after a redirect."""
    home, thief = Outside(), Outside()
    there = thief.url("localhost")

    def redirect(path):
        return home.url(path=f"{path}?code=307&to=" + urllib.parse.quote(there + "/redirected"))

    secrets = ", headers: {X-Api-Key: CONN-SECRET, Authorization: Bearer CONN-SECRET, Cookie: CONN-SECRET}"
    secrets += ", params: {token: CONN-SECRET}, data: {body: CONN-SECRET}"
    bounce = Outside()
    for path in ("/v1/chat/completions", "/v1/messages", "/mcp"):
        bounce.answers[path] = lambda headers, body: (307, {"headers": {"Location": there + "/redirected"}})
    apps = {
        "url": http_tool(home.url(path="/api"), secrets),
        "redirect": http_tool(redirect("/r"), secrets),
        "openai": model("OpenAI", f"{{type: dynamiq.connections.OpenAI, api_key: CONN-SECRET, url: '{bounce.url()}/v1'}}"),
        "anthropic": model(
            "Anthropic",
            f"{{type: dynamiq.connections.Anthropic, api_key: CONN-SECRET, url: '{bounce.url()}'}}",
        ),
        "gemini": model(
            "Gemini",
            "{type: dynamiq.connections.Gemini, api_key: CONN-SECRET}",
            f"model: gemini-pro\napi_base: '{home.url(path='/r')}?code=307&to={urllib.parse.quote(there)}'\n",
        ),
    }
    with_server("elsewhere", apps, lambda server, key: check_elsewhere(server, key, apps, home, thief))


def check_elsewhere(server, key, apps, home, thief):
    for name in apps:
        data = {"url": thief.url("localhost", "/thief"), "method": "POST"} if name == "url" else {"a": 1}
        server.run(name, key, data, timeout=60)
        for word in ("CONN-SECRET", "private text", "Referer"):
            assert word not in thief.seen(), f"{name}: {word} was sent to another origin:\n{thief.seen()}"
    assert home.got, "no call was made at all"


def shown(_world):
    """Errors, events and logs show no secrets, and nothing of a URL but its host."""
    home = Outside()

    def refuse(headers, body):
        return 401, {"error": {"message": f"wrong key {headers.get('Authorization')} {headers.get('X-Api-Key')}"}}

    home.answers["/v1/chat/completions"] = home.answers["/api"] = refuse
    key = "sk-very-secret-value"
    url = home.url().replace("://", "://user:pass-word-secret@")
    secrets = f", headers: {{X-Api-Key: '${{oc.env:THE_KEY}}'}}, params: {{token: param-secret-value}}"
    apps = {
        "tool": http_tool(f"{url}/api", secrets, "success_codes: [299]\n"),
        "closed": http_tool("http://127.0.0.1:9/path-secret-value", secrets),
        "openai": model(
            "OpenAI", f"{{type: dynamiq.connections.OpenAI, api_key: '${{oc.env:THE_KEY}}', url: '{home.url()}/v1'}}"
        ),
    }

    def check(server, access_key):
        for name in apps:
            run = server.run(name, access_key, {"a": 1}, timeout=60)
            assert run["status"] == "failed", run
            _, _, events = server.request("GET", f"/v1/runs/{run['id']}/events", app=name, key=access_key)
            for what, text in (("run", json.dumps(run)), ("events", json.dumps(events)), ("log", server.logs())):
                for word in (key, "param-secret-value", "pass-word-secret", "path-secret-value"):
                    assert word not in text, f"{name}: its {what} shows {word}: {text[-600:]}"

    with_server("shown", apps, check, {"THE_KEY": key}, "env: [THE_KEY]\n")


def with_server(name, apps, check, env=None, extra=""):
    """A separate server whose nodes may call loopback addresses."""
    root = fresh(os.path.join(FOLDER, name))
    for app, text in apps.items():
        hosts = 'allow_hosts: ["127.0.0.1", "localhost"]\n'
        write_app(os.path.join(root, "apps"), app, text, extra=LIMITS.replace("120", "15") + hosts + extra)
    server = Server(name, os.path.join(root, "apps"), env=env)
    try:
        check(server, server.key("aaaaaaaa-0000-4000-8000-000000000001"))
        assert server.alive(), server.logs()[-500:]
    finally:
        server.stop()


def data_is_private(_world):
    root = fresh(os.path.join(FOLDER, "data-is-private"))
    write_app(os.path.join(root, "apps"), "public-data", ECHO, extra="public: true\n")
    data = os.path.join(root, "data")
    os.makedirs(os.path.join(data, "files"), mode=0o755)
    os.chmod(data, 0o755)
    before = os.umask(0)
    try:
        server = Server("data-is-private", os.path.join(root, "apps"))
        try:
            server.run("public-data", None, {"a": 1})
            for folder, folders, names in os.walk(data):
                for path in [folder, *(os.path.join(folder, name) for name in [*folders, *names])]:
                    mode = stat.S_IMODE(os.stat(path).st_mode)
                    assert mode & 0o077 == 0, f"{path} is {mode:o}"
        finally:
            server.stop()
    finally:
        os.umask(before)


CASES = [
    Case("secrets-elsewhere", elsewhere, is_watched=False),
    Case("secrets-shown", shown, is_watched=False),
    Case("data-is-private", data_is_private, is_watched=False),
]
