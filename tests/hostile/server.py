"""A server with a memory limit, requests to it, and a watcher that measures whether it still serves others."""

import http.client
import json
import os
import resource
import shutil
import socket
import subprocess
import threading
import time
import uuid

BIN = os.environ["RUNYARD_BIN"]
FOLDER = os.path.abspath("target/hostile")
GIB = 1 << 30

# The attacker's organization, and another one, which must not be affected.
ATTACKER = "aaaaaaaa-0000-4000-8000-000000000001"
VICTIM = "bbbbbbbb-0000-4000-8000-000000000001"
PROJECTS = {
    ATTACKER: "aaaaaaaa-0000-4000-8000-0000000000a1",
    VICTIM: "bbbbbbbb-0000-4000-8000-0000000000b1",
}
ENDED = ("completed", "failed", "canceled")


def uid(name):
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


def write_app(root, name, workflow, organization=ATTACKER, extra=""):
    """Creates or replaces an app's folder."""
    folder = os.path.join(root, name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "workflow.yaml"), "w") as file:
        file.write(workflow)
    manifest = {
        "id": uid(name),
        "project": PROJECTS[organization],
        "organization": organization,
        "name": name,
    }
    lines = [f"{key}: {value}\n" for key, value in manifest.items()]
    with open(os.path.join(folder, "app.yaml"), "w") as file:
        file.write("".join(lines) + "workflow: {file: workflow.yaml}\n" + extra)


class Server:
    """`runyard serve` on a free port."""

    def __init__(self, name, apps, data=None, mode="serve", memory=2 * GIB, env=None, arguments=()):
        self.name = name
        self.root = os.path.join(FOLDER, name)
        self.apps = apps
        self.data = data or os.path.join(self.root, "data")
        os.makedirs(self.root, exist_ok=True)
        self.mode, self.memory, self.env, self.arguments = mode, memory, env or {}, arguments
        self.start()

    def start(self):
        address = os.path.join(self.root, "address")
        if os.path.exists(address):
            os.remove(address)
        self.log = open(os.path.join(self.root, "server.log"), "a")

        def limits():
            os.setsid()
            if self.memory:
                resource.setrlimit(resource.RLIMIT_AS, (self.memory, self.memory))

        command = [BIN, self.mode, "--apps", self.apps, "--data", self.data]
        command += ["--listen", "127.0.0.1:0", "--address-file", address, *self.arguments]
        env = {"PATH": os.environ["PATH"], "HOME": self.root, **self.env}
        self.process = subprocess.Popen(
            command, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL, preexec_fn=limits, env=env
        )
        started = time.monotonic()
        while not os.path.exists(address):
            if not self.alive() or time.monotonic() - started > 60:
                raise AssertionError(f"the server does not start: {self.logs()[-2000:]}")
            time.sleep(0.02)
        with open(address) as file:
            host, port = file.read().strip().rsplit(":", 1)
        self.host, self.port = host, int(port)

    def key(self, organization):
        command = [BIN, "keys", "create", "--data", self.data, "--org", organization]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def request(self, method, path, body=None, app=None, key=None, headers=None, timeout=60):
        """Returns the status, the headers with lower-case names, and the body, parsed if it is JSON."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        sent = {}
        if app:
            sent["Host"] = f"{app}.localhost"
        if key:
            sent["Authorization"] = "Bearer " + key
        if body is not None:
            sent["Content-Type"] = "application/json"
            if not isinstance(body, bytes):
                body = json.dumps(body).encode()
        sent.update(headers or {})
        try:
            connection.request(method, path, body=body, headers=sent)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        try:
            text = json.loads(text)
        except ValueError:
            pass
        return response.status, {key.lower(): value for key, value in response.getheaders()}, text

    def raw(self, data, timeout=5):
        """Returns the response to these bytes, until the server closes the connection or `timeout` has passed."""
        with socket.create_connection((self.host, self.port), timeout=timeout) as connection:
            connection.sendall(data)
            answer = b""
            try:
                while piece := connection.recv(65536):
                    answer += piece
            except TimeoutError:
                pass
            except ConnectionError:
                pass
        return answer

    def run(self, app, key, data, timeout=120, **more):
        """Creates a run and waits for it. Returns the run, or the error of a refused request with its HTTP status."""
        status, _, answer = self.request(
            "POST", "/v1/runs", {"input": data, **more}, app=app, key=key, timeout=timeout
        )
        return answer["data"] if status == 200 else {"status": "refused", "http": status, **answer}

    def start_run(self, app, key, data, files=None):
        """Creates a background run, and returns its id."""
        if files is None:
            body, headers = {"input": data, "background": True}, {}
        else:
            body, headers = multipart({"input": json.dumps(data), "background": "true"}, files)
        until = time.monotonic() + 30
        while True:
            status, answered, answer = self.request("POST", "/v1/runs", body, app=app, key=key, headers=headers)
            # Other requests soon release their memory.
            if status != 503 or time.monotonic() > until:
                break
            time.sleep(int(answered["retry-after"]))
        assert status == 202, (status, answer)
        return answer["data"]["id"]

    def get_run(self, app, key, run):
        until = time.monotonic() + 30
        while True:
            status, answered, answer = self.request("GET", f"/v1/runs/{run}", app=app, key=key)
            if status != 503 or time.monotonic() > until:
                break
            time.sleep(int(answered["retry-after"]))
        assert status == 200, (status, answer)
        return answer["data"]

    def wait(self, app, key, run, seconds=90):
        """Returns the run once it has ended, or in its state after `seconds`."""
        until = time.monotonic() + seconds
        while True:
            found = self.get_run(app, key, run)
            if found["status"] in ENDED or time.monotonic() > until:
                return found
            time.sleep(0.1)

    def cancel(self, app, key, run):
        return self.request("POST", f"/v1/runs/{run}/cancel", b"", app=app, key=key)[0]

    def status(self, field):
        """Returns a field of the process's status, in MiB."""
        with open(f"/proc/{self.process.pid}/status") as file:
            for line in file:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) // 1024
        raise KeyError(field)

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def alive(self):
        return self.process.poll() is None

    def logs(self):
        with open(os.path.join(self.root, "server.log"), errors="replace") as file:
            return file.read()

    def stop(self, seconds=15):
        """Sends SIGTERM, and kills the server after `seconds`. Returns the seconds that it took to end."""
        started = time.monotonic()
        if self.alive():
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return time.monotonic() - started


def multipart(fields, files, part="files"):
    """Returns a multipart body, with the files in parts of this name, and its headers."""
    boundary = "boundary-of-a-part"
    body = b""
    for name, value in fields.items():
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    for name, content in files:
        head = f'Content-Disposition: form-data; name="{part}"; filename="{name}"'
        body += f"--{boundary}\r\n{head}\r\n\r\n".encode() + content + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


class Watcher(threading.Thread):
    """Repeatedly requests /healthz, and runs the `bystander` app of another organization."""

    def __init__(self, server, key):
        super().__init__(daemon=True)
        self.server, self.key = server, key
        self.health, self.echo, self.failures = [], [], []
        self.ended = threading.Event()

    def run(self):
        while not self.ended.wait(0.05):
            self.timed(self.health, lambda: self.server.request("GET", "/healthz", timeout=30)[0] == 200)
            self.timed(
                self.echo,
                lambda: self.server.run("bystander", self.key, {"a": 1}, timeout=30)["status"] == "completed",
            )

    def timed(self, into, call):
        started = time.monotonic()
        try:
            if not call():
                self.failures.append("unexpected answer")
        except Exception as error:
            self.failures.append(repr(error)[:200])
        into.append(time.monotonic() - started)

    def stop(self):
        self.ended.set()
        self.join(60)
        return self


def fresh(path):
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path
