"""Outside servers that record their requests."""

import http.server
import json
import threading
import urllib.parse


class Outside:
    """Answers `{"ok": 1}`; `/r?code=N&to=URL` redirects. `answers` holds functions by path, which return status and
    JSON."""

    def __init__(self, answers=None):
        outside = self
        self.got, self.answers = [], answers or {}

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def answer(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                outside.got.append({"path": self.path, "headers": dict(self.headers.items()), "body": body})
                url = urllib.parse.urlparse(self.path)
                query = urllib.parse.parse_qs(url.query)
                status, headers, value = 200, {}, {"ok": 1}
                if "to" in query:
                    status, headers = int(query.get("code", ["302"])[0]), {"Location": query["to"][0]}
                elif url.path in outside.answers:
                    status, value = outside.answers[url.path](self.headers, body)
                    headers = value.pop("headers", {}) if isinstance(value, dict) else {}
                text = json.dumps(value).encode()
                self.send_response(status)
                for name, header in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, header)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, host="127.0.0.1", path=""):
        return f"http://{host}:{self.port}{path}"

    def seen(self):
        """All requests that it received, as text."""
        return "\n".join(f"{got['path']} {got['headers']} {got['body']!r}" for got in self.got)
