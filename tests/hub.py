"""A Hugging Face hub on this machine: as much of its protocol as a download needs."""

import contextlib
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REVISION = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Serves the files of one dataset; each test decides what goes wrong.

    ``cut`` is the number of files after which the hub answers no more, ``refuse``
    the status of whoever asks for a file, ``harm`` flips a byte on the way.
    """

    def __init__(self, repository: str, files: dict[str, bytes]):
        self.repository, self.files = repository, files
        self.cut, self.refuse, self.harm = None, None, False
        self.sent = []

    @contextlib.contextmanager
    def serving(self):
        """Yield the address while the hub listens."""
        handler = type("Handler", (_Handler,), {"hub": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()

    def tree(self) -> list:
        """What the hub knows of its files: names, sizes and SHA-256."""
        entries = []
        for path, content in self.files.items():
            lfs = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}
            lfs["pointerSize"] = 130
            entry = {"type": "file", "path": path, "size": len(content), "oid": "0" * 40}
            entries.append(entry | {"lfs": lfs})
        return entries


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        hub, path = self.hub, self.path.partition("?")[0]
        api, resolve = (
            f"/api/datasets/{hub.repository}",
            f"/datasets/{hub.repository}/resolve/",
        )
        if path == f"{api}/tree/{REVISION}":
            return self.answer(200, json.dumps(hub.tree()).encode())
        if path.startswith(api):
            info = {"id": hub.repository, "sha": REVISION, "siblings": []}
            return self.answer(200, json.dumps(info).encode())
        name = path.removeprefix(resolve).partition("/")[2]
        if not path.startswith(resolve) or name not in hub.files:
            return self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        if hub.refuse:
            return self.answer(hub.refuse, b"", {"X-Error-Code": "GatedRepo"})
        if self.command == "GET":
            if hub.cut is not None and len(hub.sent) >= hub.cut:
                return self.answer(503, b"")
            hub.sent.append(name)
        content = hub.files[name]
        digest = hashlib.sha256(content).hexdigest()
        if hub.harm:
            content = content[:-9] + b"?" + content[-8:]
        headers = {"ETag": f'"{digest}"', "X-Repo-Commit": REVISION}
        return self.answer(200, content, headers)

    def answer(self, status: int, body: bytes, headers: dict | None = None):
        self.send_response(status)
        for key, value in ((headers or {}) | {"Content-Length": str(len(body))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
