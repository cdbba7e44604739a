"""Names of objects in a hurry, for shell completion: of a recorded cluster or a live one, or none at all.

Reads the one list that is wanted, with the standard library: what the rest of this package uses takes longer to import than
a completion may take. Raises whatever goes wrong: who calls this offers nothing then. Credential plugins are not run and
proxies not used, because pressing a key must neither open a browser nor wait for one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl

Name = tuple[str, str]
"""Namespace (empty for a kind without) and name."""

MAX_BYTES = 64 << 20
"""Of one list: with more there is no hope of reading it in time."""

_PATHS = {"services": "/api/v1/services", "nodes": "/api/v1/nodes", "pods": "/api/v1/pods"}
_PAGE_OBJECTS = 1000
_TIMEOUT_S = 2.0
_ACCEPT = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
"""Names alone, from servers that can (Kubernetes 1.15 and later)."""


def recorded_names(path: Path, kind: str) -> list[Name]:
    """The objects of a kind (`services`, `nodes`, `pods`) in a snapshot, sorted."""
    import gzip

    file_name = f"{kind}.json"
    if path.is_dir():
        plain = path / "cluster" / file_name
        packed = path / "cluster" / f"{file_name}.gz"
        if plain.is_file():
            with plain.open("rb") as file:
                return _names(file.read(MAX_BYTES))
        with gzip.open(packed) as unpacked:
            return _names(unpacked.read(MAX_BYTES))
    import tarfile

    wanted = {f"cluster/{file_name}", f"cluster/{file_name}.gz"}
    with tarfile.open(path, mode="r|*") as archive:
        for member in archive:
            parts = Path(member.name).parts
            if member.isreg() and "/".join(parts[-2:]) in wanted and member.size <= MAX_BYTES:
                content = archive.extractfile(member)
                if content is None:
                    continue
                if member.name.endswith(".gz"):
                    with gzip.open(content) as unpacked:
                        return _names(unpacked.read(MAX_BYTES))
                return _names(content.read(MAX_BYTES))
    return []


def live_names(kind: str, *, kubeconfig: Path | None, context: str | None, namespace: str | None = None) -> list[Name]:
    """The first objects of a kind in a live cluster, sorted: a thousand, which is more than anybody reads."""
    import http.client
    from urllib.parse import urlsplit

    chosen = _entries(_configurations(kubeconfig), context)
    server = urlsplit(str(chosen.cluster["server"]))
    if chosen.cluster.get("proxy-url"):
        return []
    headers = {"Accept": _ACCEPT, **_authorization(chosen)}
    connection: http.client.HTTPConnection
    if server.scheme == "https":
        connection = http.client.HTTPSConnection(
            server.hostname or "", server.port, timeout=_TIMEOUT_S, context=_tls(chosen)
        )
    else:
        connection = http.client.HTTPConnection(server.hostname or "", server.port, timeout=_TIMEOUT_S)
    path = _PATHS[kind] if namespace is None else f"/api/v1/namespaces/{namespace}/{kind}"
    connection.request("GET", f"{server.path.rstrip('/')}{path}?limit={_PAGE_OBJECTS}", headers=headers)
    response = connection.getresponse()
    content = response.read(MAX_BYTES)
    return _names(content) if response.status == 200 else []


def context_names(kubeconfig: Path | None) -> list[str]:
    """The contexts of the kubeconfig that kubectl would use, sorted."""
    return sorted({name for content in _configurations(kubeconfig) for name in _by_name(content, "contexts")})


class _Chosen:
    """The cluster and the user of a context, and the directory that relative paths start from."""

    def __init__(self, cluster: Mapping[str, Any], user: Mapping[str, Any], directory: Path) -> None:
        self.cluster = cluster
        self.user = user
        self.directory = directory


def _names(content: bytes) -> list[Name]:
    items = json.loads(content).get("items") or []
    return sorted({(item["metadata"].get("namespace", ""), item["metadata"]["name"]) for item in items})


def _configurations(kubeconfig: Path | None) -> list[dict[str, Any]]:
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    listed = [str(kubeconfig)] if kubeconfig is not None else os.environ.get("KUBECONFIG", "").split(os.pathsep)
    paths = [Path(part).expanduser() for part in listed if part] or [Path("~/.kube/config").expanduser()]
    out = []
    for path in paths:
        if path.is_file():
            content = yaml.load(path.read_bytes(), Loader=loader)
            out.append({**content, "": path.parent})
    return out


def _by_name(content: Mapping[str, Any], key: str) -> dict[str, Mapping[str, Any]]:
    return {item["name"]: item for item in content.get(key) or ()}


def _entries(contents: Iterable[Mapping[str, Any]], context: str | None) -> _Chosen:
    """Of several files the first that says something counts, as with kubectl."""
    contexts: dict[str, Mapping[str, Any]] = {}
    clusters: dict[str, Mapping[str, Any]] = {}
    users: dict[str, Mapping[str, Any]] = {}
    directories: dict[str, Path] = {}
    current = context
    for content in contents:
        current = current or content.get("current-context")
        for known, key in ((contexts, "contexts"), (clusters, "clusters"), (users, "users")):
            for entry_name, entry in _by_name(content, key).items():
                known.setdefault(entry_name, entry)
                directories.setdefault(f"{key}/{entry_name}", content[""])
    chosen = contexts[current or ""]["context"]
    cluster = clusters[chosen["cluster"]]["cluster"]
    user = users[chosen["user"]]["user"] if chosen.get("user") in users else {}
    return _Chosen(cluster, user, directories[f"clusters/{chosen['cluster']}"])


def _authorization(chosen: _Chosen) -> dict[str, str]:
    user = chosen.user
    if user.get("token"):
        return {"Authorization": f"Bearer {user['token']}"}
    if user.get("tokenFile"):
        return {"Authorization": f"Bearer {(chosen.directory / user['tokenFile']).read_text().strip()}"}
    if user.get("username"):
        import base64

        pair = f"{user['username']}:{user.get('password', '')}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    return {}


def _tls(chosen: _Chosen) -> ssl.SSLContext:
    import ssl

    cluster, user = chosen.cluster, chosen.user
    authority = _text(cluster, "certificate-authority", chosen.directory)
    settings = ssl.create_default_context(cadata=authority)
    if cluster.get("insecure-skip-tls-verify"):
        settings.check_hostname = False
        settings.verify_mode = ssl.CERT_NONE
    certificate = _text(user, "client-certificate", chosen.directory)
    key = _text(user, "client-key", chosen.directory)
    if certificate is not None and key is not None:
        # A key never goes to disk: a file in memory has a path, too, where there are such (Linux).
        in_memory = os.memfd_create("kdiag")
        try:
            os.write(in_memory, f"{certificate}\n{key}\n".encode())
            settings.load_cert_chain(f"/proc/self/fd/{in_memory}")
        finally:
            os.close(in_memory)
    return settings


def _text(entry: Mapping[str, Any], key: str, directory: Path) -> str | None:
    """What `key-data` holds, or the file that `key` names."""
    if entry.get(f"{key}-data"):
        import base64

        return base64.b64decode(entry[f"{key}-data"]).decode()
    return (directory / entry[key]).read_text() if entry.get(key) else None
