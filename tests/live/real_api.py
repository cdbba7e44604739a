"""A real API server that holds a recorded cluster: kube-apiserver and etcd of the directory in KUBEBUILDER_ASSETS.

That variable is the convention of controller-runtime's envtest. No controller runs: what is put in stays as it is.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import json
import os
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.corpus_fixtures import cluster
from tests.live.api_double import PATHS, TOKEN
from tests.live.authorizer import MANIFEST
from tests.live.certificates import Authority

ADMIN_TOKEN = "the-token-of-the-tests-themselves"
API_ADDRESS = "192.168.56.10"
"""Where the Service `kubernetes` of the recorded clusters leads: the server says that this is its address."""
PORT = 6443
_FORMS = {  # of the lists in a recording, in the order in which they can be put in
    "kube-system-configmaps": "configmaps",
    "kube-system-daemonsets": "daemonsets",
    "nodes": "nodes",
    "services": "services",
    "pods": "pods",
    "endpoints": "endpoints",
    "endpointslices-v1beta1": "endpointslices",
    "endpointslices-v1": "endpointslices",
}
_OWN = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink", "deletionTimestamp")
_WAIT_S = 90.0


class RealApiError(Exception):
    """The server does not start, or does not do what it is asked; the text says why."""


def assets() -> Path | None:
    """The directory with the binaries; None if there is none."""
    named = os.environ.get("KUBEBUILDER_ASSETS")
    return None if not named else Path(named)


def why_not() -> str | None:
    """Why there can be no real server here; None if there can."""
    directory = assets()
    if directory is None:
        return "a real API server needs KUBEBUILDER_ASSETS, a directory with kube-apiserver and etcd"
    missing = [program for program in ("kube-apiserver", "etcd") if not os.access(directory / program, os.X_OK)]
    if missing:
        return f"KUBEBUILDER_ASSETS={directory} has no {' and no '.join(missing)}"
    with socket.socket() as sock:
        try:
            sock.bind(("127.0.0.1", PORT))
        except OSError:
            return f"a real API server needs port {PORT}, and that is taken"
    return None


def recording_for(minor: int) -> str:
    """The recorded cluster that a server of Kubernetes 1.`minor` can hold and whose proxies are most like its own."""
    if minor < 25:
        return "v1.20.2-iptables-nft"
    return "v1.30.3-iptables-nft" if minor < 34 else "v1.36.2-iptables-nft"


class RealApi:
    """etcd and kube-apiserver in the caller's network namespace, on `address`; what they write lies in `directory`.

    The token of `kubeconfig` is that of the service account of deploy/rbac.yaml, with its permissions.
    """

    def __init__(self, directory: Path, *, address: str = "127.0.0.1") -> None:
        self.directory = directory
        self.address = address
        self.base = ""
        self._authority = Authority(directory, address=address)
        self._stack = contextlib.ExitStack()
        self._changed: list[tuple[str, dict[str, Any]]] = []

    @property
    def url(self) -> str:
        return f"https://{self.address}:{PORT}"

    def __enter__(self) -> RealApi:
        with contextlib.ExitStack() as stack:
            directory = assets()
            assert directory is not None
            client, peer = _free_port(), _free_port()
            etcd = f"http://127.0.0.1:{client}"
            self._start(
                stack,
                directory / "etcd",
                f"--data-dir={self.directory / 'etcd'}",
                f"--listen-client-urls={etcd}",
                f"--advertise-client-urls={etcd}",
                f"--listen-peer-urls=http://127.0.0.1:{peer}",
                f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
                f"--initial-cluster=default=http://127.0.0.1:{peer}",
            )
            tokens = self.directory / "tokens.csv"
            tokens.write_text(
                f'{ADMIN_TOKEN},admin,admin,"system:masters"\n'
                f'{TOKEN},system:serviceaccount:kube-system:kdiag,kdiag,"system:serviceaccounts"\n'
            )
            key = self.directory / "service-accounts.key"
            key.write_bytes(
                rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.TraditionalOpenSSL,
                    serialization.NoEncryption(),
                )
            )
            server = self._start(
                stack,
                directory / "kube-apiserver",
                f"--etcd-servers={etcd}",
                f"--bind-address={self.address}",
                f"--advertise-address={API_ADDRESS}",
                f"--secure-port={PORT}",
                f"--cert-dir={self.directory}",
                f"--tls-cert-file={self.directory / 'server.crt'}",
                f"--tls-private-key-file={self.directory / 'server.key'}",
                f"--token-auth-file={tokens}",
                "--authorization-mode=RBAC",
                "--allow-privileged=true",
                "--service-cluster-ip-range=10.96.0.0/12",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={key}",
                f"--service-account-signing-key-file={key}",
                # They would change what is put in, or want a controller to have been there first.
                "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition,DefaultTolerationSeconds,Priority",
            )
            self._wait(server)
            self.base = recording_for(int(self.call("GET", "/version")["minor"].rstrip("+")))
            self._load()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def kubeconfig(self, path: Path, *, server: str | None = None, token: str = TOKEN) -> Path:
        """Writes a kubeconfig for this server and returns its path."""
        certificate = base64.b64encode(self._authority.certificate_pem).decode()
        cluster_entry = {"server": server or self.url, "certificate-authority-data": certificate}
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "admin@recorded",
                    "clusters": [{"name": "recorded", "cluster": cluster_entry}],
                    "users": [{"name": "admin", "user": {"token": token}}],
                    "contexts": [{"name": "admin@recorded", "context": {"cluster": "recorded", "user": "admin"}}],
                }
            )
        )
        return path

    @contextlib.contextmanager
    def edited(self, path: str) -> Iterator[list[dict[str, Any]]]:
        """The items of a list (a path of any version), to be changed in place; changes are written at the end."""
        listed = self.call("GET", self._served(path))
        items: list[dict[str, Any]] = listed["items"]
        before = copy.deepcopy(items)
        yield items
        for old, new in zip(before, items, strict=True):
            if old != new:
                target = self._item_path(self._served(path), new)
                self._changed.append((target, old))
                self._replace(target, new)

    def restore(self) -> None:
        """Undo what `edited` has changed."""
        while self._changed:
            self._replace(*self._changed.pop())

    def call(self, method: str, path: str, body: object = None, *, kind: str = "application/json") -> dict[str, Any]:
        """One request as administrator; the decoded answer. Raises RealApiError unless it succeeds."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {ADMIN_TOKEN}", "Content-Type": kind},
        )
        context = ssl.create_default_context(cadata=self._authority.certificate_pem.decode())
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        try:
            with opener.open(request, timeout=30) as answer:
                decoded: dict[str, Any] = json.load(answer)
                return decoded
        except urllib.error.HTTPError as error:
            raise RealApiError(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from None
        except OSError as error:
            raise RealApiError(f"{method} {path}: {error}") from None

    def _start(self, stack: contextlib.ExitStack, program: Path, *options: str) -> subprocess.Popen[bytes]:
        log = stack.enter_context((self.directory / f"{program.name}.log").open("wb"))
        process = subprocess.Popen(
            [str(program), *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory
        )
        stack.callback(_end, process)
        return process

    def _wait(self, server: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline and server.poll() is None:
            with contextlib.suppress(RealApiError):
                self.call("GET", "/version")
                # The last that it makes by itself; what is put in below needs both.
                self.call("GET", "/api/v1/namespaces/default/endpoints/kubernetes")
                self.call("GET", "/api/v1/namespaces/kube-system")
                return
            time.sleep(0.3)
        log = (self.directory / "kube-apiserver.log").read_text(errors="replace")
        raise RealApiError(f"kube-apiserver does not start: {log[-2000:]}")

    def _served(self, path: str) -> str:
        """The path of an EndpointSlice list in the version that this server has; others as they are."""
        if path.endswith("/endpointslices") and self.base.startswith("v1.20"):
            return PATHS["endpointslices-v1beta1"]
        return path

    def _load(self) -> None:
        for document in yaml.safe_load_all(MANIFEST.read_text()):
            group, _, version = document["apiVersion"].rpartition("/")
            self._create(f"/{f'apis/{group}' if group else 'api'}/{version}/{document['kind'].lower()}s", document)
        for recording, plural in _FORMS.items():
            found = cluster(self.base).api.get(recording)
            document = {} if found is None else json.loads(found.content)
            path = self._served(PATHS[recording]).partition("/namespaces/")[0]
            if plural not in path:
                path = f"{path}/{plural}"
            for item in document.get("items", ()):
                self._create(path, item)

    def _create(self, path: str, item: dict[str, Any]) -> None:
        metadata = item["metadata"]
        if metadata.get("namespace"):
            with contextlib.suppress(RealApiError):  # it is there
                self.call("POST", "/api/v1/namespaces", {"metadata": {"name": metadata["namespace"]}})
        if (metadata.get("namespace"), metadata["name"]) == ("default", "kubernetes"):
            return  # the server's own
        made = {**item, "metadata": {key: value for key, value in metadata.items() if key not in _OWN}}
        made["metadata"].pop("deletionGracePeriodSeconds", None)
        self.call("POST", self._item_path(path, item).rpartition("/")[0], made)
        target = self._item_path(path, item)
        if item.get("status") and not path.endswith("/daemonsets"):
            self.call("PATCH", f"{target}/status", {"status": item["status"]}, kind="application/merge-patch+json")
        if metadata.get("deletionTimestamp"):  # without a kubelet it stays, terminating
            self.call("DELETE", target)

    def _item_path(self, path: str, item: dict[str, Any]) -> str:
        metadata = item["metadata"]
        root, plural = path.rsplit("/", 1)
        namespace = f"/namespaces/{metadata['namespace']}" if metadata.get("namespace") else ""
        return f"{root}{namespace}/{plural}/{metadata['name']}"

    def _replace(self, target: str, item: dict[str, Any]) -> None:
        metadata = {key: value for key, value in item["metadata"].items() if key != "resourceVersion"}
        self.call("PUT", target, {**item, "metadata": metadata})
        if item.get("status"):
            self.call("PUT", f"{target}/status", {**item, "metadata": metadata})


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        number: int = sock.getsockname()[1]
        return number


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
