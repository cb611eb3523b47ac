"""A small W&B server on 127.0.0.1, for the real client: GraphQL, the file stream of runs, and storage for files.

Only what ``wandb.init(mode="online")``, ``log``, ``log_artifact``, ``use_artifact`` and saved views need. It can be
slow, refuse requests, or go away in mid-run.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from helpers.wandb_answers import ANSWERS

if TYPE_CHECKING:
    from collections.abc import Iterator

_FILE_STREAM = re.compile(r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream")
_OPERATION = re.compile(r"\s*(?:query|mutation)\s+(\w+)")


@dataclass
class ServedRun:
    """A run as the server knows it.

    Attributes:
        entity, project, name: Its place; the name is its id.
        fields: What the client said of it: displayName, groupName, jobType, tags, config, ...
        files: Lines of the file stream by file: ``wandb-history.jsonl``, ``wandb-summary.json``, ``output.log``, ...
        exit_code: ``None`` until it is over.
    """

    entity: str
    project: str
    name: str
    fields: dict[str, Any] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows of its history."""
        return [json.loads(line) for line in self.files.get("wandb-history.jsonl", [])]

    @property
    def summary(self) -> dict[str, Any]:
        """Its summary."""
        lines = self.files.get("wandb-summary.json", [])
        return dict(json.loads(lines[-1])) if lines else {}

    @property
    def config(self) -> dict[str, Any]:
        """Its configuration, without W&B's own part."""
        found = json.loads(self.fields.get("config") or "{}")
        return {key: entry["value"] for key, entry in found.items() if key != "_wandb"}


@dataclass
class ServedArtifact:
    """An artifact: a version of a collection.

    Attributes:
        id: Its id.
        version: Its number in the collection, from 0.
        fields: What the client said of it: artifactCollectionName, artifactTypeName, aliases, metadata, ...
        files: Keys in the storage by path in the artifact.
        manifest: Key of the manifest in the storage.
        committed: Whether all of it has come.
    """

    id: str
    version: int
    fields: dict[str, Any]
    files: dict[str, str] = field(default_factory=dict)
    manifest: str = ""
    committed: bool = False

    @property
    def collection(self) -> str:
        """Name of its collection."""
        return str(self.fields["artifactCollectionName"])

    @property
    def aliases(self) -> list[str]:
        """Its aliases."""
        return [item["alias"] for item in self.fields.get("aliases") or []]


@dataclass
class WandbServer:
    """The state of the server, to be read and set by tests.

    Attributes:
        url: Its address.
        runs: By name.
        artifacts: In the order in which they were made.
        storage: Contents of uploaded files by key.
        views: Saved workspaces and reports, by id.
        charts: Presets of custom charts, by name.
        asked: Names of the GraphQL operations, in order.
        unknown: Operations that nobody foresaw; tests check that there are none.
        delay: Seconds before each answer.
        status: Status with which everything is answered instead; 0: as it should be.
        stream_status: The same, of the file stream alone.
        refused: How many requests were answered so.
    """

    url: str = ""
    runs: dict[str, ServedRun] = field(default_factory=dict)
    artifacts: list[ServedArtifact] = field(default_factory=list)
    storage: dict[str, bytes] = field(default_factory=dict)
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    charts: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    delay: float = 0.0
    status: int = 0
    stream_status: int = 0
    refused: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def run(self) -> ServedRun:
        """The one run that there is."""
        (found,) = self.runs.values()
        return found

    def artifacts_of(self, kind: str) -> list[ServedArtifact]:
        """The artifacts of a type."""
        return [artifact for artifact in self.artifacts if artifact.fields["artifactTypeName"] == kind]

    def url_of(self, key: str) -> str:
        """The address at which a file is put and got."""
        return f"{self.url}/storage/{key}"

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The answer to a GraphQL request."""
        match = _OPERATION.match(query)
        name = match.group(1) if match else query
        self.asked.append(name)
        if name not in ANSWERS:
            self.unknown.append(f"{name}: {query}")
            return {"errors": [{"message": f"unknown operation {name}"}]}
        try:
            with self.lock:
                return {"data": ANSWERS[name](self, variables)}
        except Exception as error:
            self.unknown.append(f"{name}: {error!r} for {variables}")
            return {"errors": [{"message": repr(error)}]}

    def stream(self, entity: str, project: str, name: str, request: dict[str, Any]) -> dict[str, Any]:
        """Take a request of the file stream."""
        with self.lock:
            run = self.runs.setdefault(name, ServedRun(entity, project, name))
            for file, part in request.get("files", {}).items():
                lines = run.files.setdefault(file, [])
                if file == "wandb-summary.json":
                    lines[:] = part["content"]
                else:
                    lines[part["offset"] :] = part["content"]
            if request.get("complete"):
                run.exit_code = request.get("exitcode")
        return {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: WandbServer

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_POST(self) -> None:
        body = self._body()
        stream = _FILE_STREAM.fullmatch(self.path)
        if self._refuses(self.state.stream_status if stream else 0):
            return
        request = json.loads(body or b"{}")
        if stream:
            self._reply(self.state.stream(*stream.groups(), request))
        elif self.path == "/graphql":
            self._reply(self.state.answer(request["query"], request.get("variables") or {}))
        else:
            self.state.unknown.append(f"POST {self.path}")
            self._send(404, b"")

    def do_PUT(self) -> None:
        body = self._body()
        if not self._refuses():
            self.state.storage[self.path.removeprefix("/storage/")] = body
            self._send(200, b"")

    def do_GET(self) -> None:
        if self._refuses():
            return
        found = self.state.storage.get(self.path.removeprefix("/storage/"))
        if found is None:
            self.state.unknown.append(f"GET {self.path}")
        self._send(404 if found is None else 200, found or b"")

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _refuses(self, status: int = 0) -> bool:
        time.sleep(self.state.delay)
        status = status or self.state.status
        if status:
            self.state.refused += 1
            self._send(status, b'{"error": "refused"}')
        return bool(status)

    def _reply(self, document: dict[str, Any]) -> None:
        self._send(200, json.dumps(document).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str = "application/octet-stream") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serve_wandb() -> Iterator[WandbServer]:
    """A server that answers until the end of the block."""
    state = WandbServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
