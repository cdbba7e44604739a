"""An API server for tests: real HTTP and TLS, recorded lists in pages, RBAC, and every kind of bad day."""

from __future__ import annotations

import base64
import contextlib
import copy
import gzip
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from kdiag.model.snapshot import Snapshot
from tests.live.authorizer import Authorizer, Grant, Request, granted
from tests.live.certificates import Authority

TOKEN = "a-token-that-nobody-may-ever-see"
SERVICE_ACCOUNT = ("kube-system", "kdiag")

# Recording in a snapshot → where the API has it.
PATHS = {
    "services": "/api/v1/services",
    "endpoints": "/api/v1/endpoints",
    "nodes": "/api/v1/nodes",
    "pods": "/api/v1/pods",
    "endpointslices-v1": "/apis/discovery.k8s.io/v1/endpointslices",
    "endpointslices-v1beta1": "/apis/discovery.k8s.io/v1beta1/endpointslices",
    "servicecidrs": "/apis/networking.k8s.io/v1/servicecidrs",
    "servicecidrs-v1": "/apis/networking.k8s.io/v1/servicecidrs",
    "servicecidrs-v1beta1": "/apis/networking.k8s.io/v1beta1/servicecidrs",
    "ippools": "/apis/crd.projectcalico.org/v1/ippools",
    "kube-system-daemonsets": "/apis/apps/v1/namespaces/kube-system/daemonsets",
    "kube-system-configmaps": "/api/v1/namespaces/kube-system/configmaps",
    "kube-flannel-configmaps": "/api/v1/namespaces/kube-flannel/configmaps",
}
GROUPS_WITHOUT_LISTS = ("/api/v1", "/apis/networking.k8s.io/v1", "/apis/apps/v1")
"""Groups that every server knows, whatever kinds of them it has."""


@dataclass
class Trouble:
    """What goes wrong, by path. `statuses` are answered in turn, then it works; `delay_s` comes before the answer.

    `expire` counts continue tokens that turn out to be too old (410); `cut` are paths whose answer breaks off in the
    middle; `bodies` are answered as they are; `silent` never answers while the test runs.
    """

    statuses: dict[str, list[int]] = field(default_factory=dict)
    delay_s: dict[str, float] = field(default_factory=dict)
    expire: Counter[str] = field(default_factory=Counter)
    cut: Counter[str] = field(default_factory=Counter)
    bodies: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    retry_after: str | None = None


class ApiDouble:
    """Serves a recorded cluster. Change `lists` while it runs to change the cluster.

    `grants` None means that everybody with the token may do all. `on_read` is called with the path and how often it
    was asked for (from 1) before each first page of a list. `base` is the recording's name, for tests that ask for it.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        authority: Authority | None = None,
        grants: tuple[Grant, ...] | None = None,
        page_objects: int = 500,
    ) -> None:
        self.base = ""
        self.lists: dict[str, dict[str, Any]] = {}
        for kind, path in PATHS.items():
            recording = snapshot.api.get(kind)
            if recording is not None:
                document = json.loads(recording.content)
                if "items" in document:
                    self.lists[path] = document
        self.version: dict[str, Any] = json.loads(snapshot.api["version"].content)
        self.page_objects = page_objects
        self.trouble = Trouble()
        self.authorizer = None if grants is None else Authorizer(grants)
        self.requests: list[str] = []
        self.methods: set[str] = set()
        self.agents: set[str] = set()
        self.on_read: Callable[[str, int], None] = lambda path, times: None
        self.reads: Counter[str] = Counter()
        self.clock_ahead_s = 0.0
        self.tokens = {TOKEN}
        self.released = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.double = self
        self._authority = authority
        if authority is not None:
            self._server.socket = authority.server_context().wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        scheme = "http" if self._authority is None else "https"
        return f"{scheme}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> ApiDouble:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def kubeconfig(self, path: Path, *, server: str | None = None, user: dict[str, Any] | None = None) -> Path:
        """Writes a kubeconfig for this server and returns its path."""
        cluster: dict[str, Any] = {"server": server or self.url}
        if self._authority is not None:
            cluster["certificate-authority-data"] = base64.b64encode(self._authority.certificate_pem).decode()
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "admin@recorded",
                    "clusters": [{"name": "recorded", "cluster": cluster}],
                    "users": [{"name": "admin", "user": {"token": TOKEN} if user is None else user}],
                    "contexts": [{"name": "admin@recorded", "context": {"cluster": "recorded", "user": "admin"}}],
                }
            )
        )
        return path

    @contextlib.contextmanager
    def edited(self, path: str) -> Iterator[list[dict[str, Any]]]:
        """The items of a list, to be changed in place: as `RealApi.edited` gives them."""
        items = self.items(path)
        before = copy.deepcopy(items)
        yield items
        for item in items:
            if item not in before:
                item["metadata"]["resourceVersion"] = str(int(item["metadata"]["resourceVersion"]) + 1)

    def items(self, path: str) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self.lists[path]["items"]
        return listed


def rbac_grants() -> tuple[Grant, ...]:
    """What deploy/rbac.yaml grants to its own service account."""
    return granted(SERVICE_ACCOUNT)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    double: Any = None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, or that does not like the certificate, is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def do_PATCH(self) -> None:
        self._handle()

    def do_DELETE(self) -> None:
        self._handle()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: pytest shows what the tests assert."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        return formatdate((timestamp or time.time()) + self.server.double.clock_ahead_s, usegmt=True)

    def _handle(self) -> None:
        double: ApiDouble = self.server.double
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        double.requests.append(self.path)
        double.methods.add(self.command)
        double.agents.add(self.headers.get("User-Agent", ""))
        trouble = double.trouble
        if parts.path in trouble.delay_s:
            double.released.wait(trouble.delay_s[parts.path])
        if self.headers.get("Authorization", "").removeprefix("Bearer ") not in double.tokens:
            self._status(401, "Unauthorized", "Unauthorized")
        elif self.command != "GET":
            self._status(405, "MethodNotAllowed", "this server is for reading")
        elif trouble.statuses.get(parts.path):
            self._status(trouble.statuses[parts.path].pop(0), "InternalError", "a bad day")
        elif parts.path in trouble.bodies:
            self._answer(*trouble.bodies[parts.path])
        else:
            self._resource(double, parts.path, query)

    def _resource(self, double: ApiDouble, path: str, query: dict[str, str]) -> None:
        if path == "/version":
            self._answer(200, json.dumps(double.version).encode())
            return
        words = path.strip("/").split("/")
        prefix = 2 if words[0] == "api" else 3
        group = words[1] if words[0] == "apis" and len(words) > 1 else ""
        if words[0] not in ("api", "apis") or len(words) < prefix:
            self._status(404, "NotFound", "the server could not find the requested resource")
            return
        if len(words) == prefix:
            self._describe(double, "/" + "/".join(words))
            return
        rest = words[prefix:]
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        object_name = rest[1] if len(rest) > 1 else ""
        request = Request("get" if object_name else "list", group, rest[0], namespace, object_name)
        # As in a real server: who may not ask is not told whether there is such a thing.
        if double.authorizer is not None and not double.authorizer.permits(request):
            self._status(403, "Forbidden", f'{rest[0]} is forbidden: User "x" cannot {request.verb} resource')
            return
        listed = double.lists.get(path.removesuffix(f"/{object_name}") if object_name else path)
        if listed is None:
            self._status(404, "NotFound", "the server could not find the requested resource")
        elif object_name:
            self._object(listed, object_name)
        else:
            self._page(double, path, listed, query)

    def _describe(self, double: ApiDouble, group_path: str) -> None:
        known = [path.rpartition("/")[2] for path in double.lists if path.startswith(f"{group_path}/")]
        if not known and group_path not in GROUPS_WITHOUT_LISTS:
            self._status(404, "NotFound", "the server could not find the requested resource")
            return
        resources = [{"name": plural, "verbs": ["get", "list"]} for plural in sorted(set(known))]
        self._answer(200, json.dumps({"kind": "APIResourceList", "resources": resources}).encode())

    def _object(self, listed: dict[str, Any], object_name: str) -> None:
        for item in listed["items"]:
            if item["metadata"]["name"] == object_name:
                self._answer(200, json.dumps({"kind": listed["kind"].removesuffix("List"), **item}).encode())
                return
        self._status(404, "NotFound", f'"{object_name}" not found')

    def _page(self, double: ApiDouble, path: str, listed: dict[str, Any], query: dict[str, str]) -> None:
        token = query.get("continue", "")
        if token and double.trouble.expire[path] > 0:
            double.trouble.expire[path] -= 1
            self._status(410, "Expired", "The provided continue parameter is too old")
            return
        if not token:
            double.reads[path] += 1
            double.on_read(path, double.reads[path])
        start = int(base64.b64decode(token)) if token else 0
        items = double.lists[path]["items"]
        limit = min(int(query["limit"]), double.page_objects) if "limit" in query else len(items)
        end = start + limit
        metadata: dict[str, Any] = {"resourceVersion": "1234"}
        if end < len(items):
            metadata["continue"] = base64.b64encode(str(end).encode()).decode()
            metadata["remainingItemCount"] = len(items) - end
        page = {**listed, "metadata": metadata, "items": items[start:end]}
        body = json.dumps(page).encode()
        if double.trouble.cut[path] > 0:
            double.trouble.cut[path] -= 1
            self._answer(200, body, cut=True)
            return
        self._answer(200, body)

    def _status(self, code: int, reason: str, message: str) -> None:
        body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message}
        self._answer(code, json.dumps({**body, "code": code}).encode())

    def _answer(self, code: int, body: bytes, *, cut: bool = False) -> None:
        packed = "gzip" in self.headers.get("Accept-Encoding", "") and len(body) > 1024
        if packed:
            body = gzip.compress(body, 1)
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if packed:
            self.send_header("Content-Encoding", "gzip")
        retry_after = self.server.double.trouble.retry_after
        if retry_after is not None and code in (429, 503):
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        if cut:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.close_connection = True
            return
        self.wfile.write(body)
