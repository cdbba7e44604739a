"""The way to the API server: who it is and how to log in by the official client, requests as raw bytes.

The client reads the kubeconfig, runs credential plugins and sets up TLS and proxies; its model classes are not used.
Nothing that it knows (tokens, keys, passwords) gets into a message: its own messages may hold whole kubeconfig entries.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from kdiag import __version__
from kdiag.errors import ClusterError
from kdiag.gather.redact import redact

CONNECT_S = 10.0
"""Seconds until a connection must stand."""

SILENCE_S = 30.0
"""Seconds that a server may be silent in the middle of an answer."""

ANSWER_S = 180.0
"""Seconds that one whole answer may take."""

MAX_ANSWER_BYTES = 1 << 30
"""More than the largest list that a cluster within Kubernetes' own limits can give."""

ATTEMPTS = 3
_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0
_CHUNK_BYTES, _LARGEST_CHUNK_BYTES = 1 << 20, 1 << 23
_PASSING = frozenset({429, 500, 502, 503, 504})
"""Statuses that may be gone the next time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the server answered: HTTP status and body."""

    status: int
    body: bytes


class ApiConnection:
    """A connection to one API server. `cluster` is what to call the cluster, `server` its URL.

    Used by one thread at a time. `stop` cuts the pauses between attempts short.
    """

    def __init__(self, configuration: Any, *, cluster: str, stop: threading.Event | None = None) -> None:
        from kubernetes.client.rest import RESTClientObject

        self.cluster = cluster
        self.server: str = configuration.host.rstrip("/")
        if not self.server.startswith(("https://", "http://")):
            raise _no_url(self.server)
        self._configuration = configuration
        self._pool = RESTClientObject(configuration).pool_manager
        self._stop = stop or threading.Event()
        self._reached = False
        self.clock_ahead_s = 0.0
        """How many seconds the server's clock is ahead of this host's, told by its last answer to the second."""

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Answer:
        """The answer to a GET, of any status.

        What may pass (429, 5xx, a connection that broke) is tried again, up to three times in all; but a server that never
        answered before is not waited for. Raises ClusterError if there is no answer.
        """
        url = f"{self.server}{path}" + (f"?{urlencode(query)}" if query else "")
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer, pause_s = self._once(url)
            except ClusterError:
                if attempt == ATTEMPTS or not self._reached:
                    raise
                pause_s = None
            else:
                self._reached = True
                if answer.status not in _PASSING or attempt == ATTEMPTS:
                    return answer
            if self._stop.wait(min(_PAUSE_S * 2 ** (attempt - 1) if pause_s is None else pause_s, _LONGEST_PAUSE_S)):
                break
        raise ClusterError(f"the API server {self.server} was not asked again: kdiag was interrupted")

    def close(self) -> None:
        """Ends all connections."""
        self._pool.clear()

    def _once(self, url: str) -> tuple[Answer, float | None]:
        """One attempt: the answer, and the seconds that the server asks to be left alone."""
        import urllib3

        try:
            response = self._pool.request(
                "GET",
                url,
                headers=self._headers(),
                preload_content=False,
                retries=False,
                redirect=False,
                timeout=urllib3.Timeout(connect=CONNECT_S, read=SILENCE_S),
            )
            try:
                body = self._body(response)
            except BaseException:
                response.close()  # half an answer is left: the connection is of no use any more
                raise
            response.release_conn()
            self._compare_clocks(response.headers.get("Date"))
            return Answer(status=response.status, body=body), _seconds(response.headers.get("Retry-After"))
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            # `from None`: what urllib3 says is in the message, and a traceback must not tell more.
            raise _failure(error, self.server) from None

    def _body(self, response: Any) -> bytes:
        chunks: list[bytes] = []
        size_bytes = 0
        deadline = time.monotonic() + ANSWER_S
        # What comes in one chunk of just its length is not copied.
        chunk_bytes = min(response.length_remaining or _CHUNK_BYTES, _LARGEST_CHUNK_BYTES)
        for chunk in response.stream(chunk_bytes, decode_content=True):
            chunks.append(chunk)
            size_bytes += len(chunk)
            if size_bytes > MAX_ANSWER_BYTES:
                raise ClusterError(f"the API server {self.server} sent more than {MAX_ANSWER_BYTES >> 20} MiB at once")
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"the API server {self.server} had not finished an answer after {ANSWER_S:.0f} s",
                    hint="try again when it is less busy",
                )
        return b"".join(chunks)

    def _compare_clocks(self, told: str | None) -> None:
        try:
            moment = parsedate_to_datetime(told or "")
        except ValueError:
            return
        self.clock_ahead_s = moment.timestamp() - time.time()

    def _headers(self) -> dict[str, str]:
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "User-Agent": f"kdiag/{__version__}",
        }
        with _quiet() as complaints:  # a token that has expired is renewed here
            for setting in self._configuration.auth_settings().values():
                if setting["in"] == "header" and setting["value"]:
                    headers[setting["key"]] = setting["value"]
        if complaints:
            raise _credential_error(complaints, "the kubeconfig")
        return headers


def connect(
    kubeconfig: Path | None = None, context: str | None = None, *, stop: threading.Event | None = None
) -> ApiConnection:
    """A connection as kubectl would make it: `kubeconfig`, else $KUBECONFIG, else ~/.kube/config, else in-cluster.

    Nothing is sent yet. Raises ClusterError if there is no usable configuration.
    """
    paths = _kubeconfig_paths(kubeconfig)
    if not paths and kubeconfig is None and context is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
        return _in_cluster(stop)
    if not paths:
        wanted = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
        raise ClusterError(
            f"there is no cluster to look at: {wanted} does not exist",
            hint="name a kubeconfig with --kubeconfig, a recorded cluster with --snapshot PATH, or see one with --demo",
        )
    return _from_kubeconfig(paths, context, stop)


def _kubeconfig_paths(kubeconfig: Path | None) -> list[Path]:
    """The files that exist."""
    if kubeconfig is not None:
        named = [kubeconfig]
    else:
        listed = os.environ.get("KUBECONFIG", "")
        named = [Path(part) for part in listed.split(os.pathsep) if part] or [Path("~/.kube/config")]
    return [path for path in (item.expanduser() for item in named) if path.exists()]


def _from_kubeconfig(paths: list[Path], context: str | None, stop: threading.Event | None) -> ApiConnection:
    from kubernetes import client, config

    untyped: Any = config
    shown = ", ".join(str(path) for path in paths)
    contents = [_kubeconfig(path) for path in paths]
    context_name, cluster = _context(contents, context, shown)
    configuration: Any = client.Configuration()
    try:
        with _quiet() as complaints:
            untyped.load_kube_config(
                os.pathsep.join(str(path) for path in paths),
                context=context_name,
                client_configuration=configuration,
                persist_config=False,
            )
    except untyped.ConfigException as error:
        raise ClusterError(
            f"kubeconfig {shown} cannot be used: {_harmless(error)}", hint="kubectl config view shows what it holds"
        ) from None
    except (OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        # Messages of these may quote the file, so that only their type is told.
        raise ClusterError(
            f"kubeconfig {shown} is malformed ({type(error).__name__})", hint="kubectl config view shows what it holds"
        ) from None
    if complaints:
        raise _credential_error(complaints, f"kubeconfig {shown}")
    return ApiConnection(configuration, cluster=cluster, stop=stop)


def _kubeconfig(path: Path) -> dict[str, Any]:
    """The content of a kubeconfig. What YAML's parser says may quote a secret, so only the line is told."""
    import yaml

    try:
        content = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise ClusterError(f"cannot read kubeconfig {path}: {error.strerror or error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise ClusterError(f"kubeconfig {path} is not valid YAML{where}") from None
    if not isinstance(content, dict):
        raise ClusterError(f"kubeconfig {path} is empty or no kubeconfig at all")
    return content


def _context(contents: list[dict[str, Any]], wanted: str | None, shown: str) -> tuple[str, str]:
    """The name of the context to use and of its cluster. Of several files the first that says something counts."""
    from kdiag.model.lookup import did_you_mean

    clusters: dict[str, str] = {}
    for content in contents:
        listed = content.get("contexts")
        for item in listed if isinstance(listed, list) else ():
            if isinstance(item, dict) and isinstance(item.get("name"), str):
                inner = item.get("context")
                cluster = inner.get("cluster") if isinstance(inner, dict) else None
                clusters.setdefault(item["name"], str(cluster or item["name"]))
    names = ", ".join(clusters) or "none at all"
    chosen = wanted or next((str(item["current-context"]) for item in contents if item.get("current-context")), None)
    if chosen is None:
        raise ClusterError(
            f"kubeconfig {shown} has no current context", hint=f"name one with --context; it has {names}"
        )
    if chosen not in clusters:
        raise ClusterError(
            f"kubeconfig {shown} has no context {chosen!r}",
            hint=did_you_mean(chosen, list(clusters)) or f"it has {names}",
        )
    return chosen, clusters[chosen]


def _in_cluster(stop: threading.Event | None) -> ApiConnection:
    from kubernetes import client, config

    untyped: Any = config
    configuration: Any = client.Configuration()
    try:
        untyped.load_incluster_config(client_configuration=configuration)
    except (untyped.ConfigException, OSError) as error:
        raise ClusterError(
            f"the in-cluster configuration cannot be used: {_harmless(error)}",
            hint="give the pod a service account (automountServiceAccountToken), or name a --kubeconfig",
        ) from None
    return ApiConnection(configuration, cluster="in-cluster", stop=stop)


class _Complaints(logging.Handler):
    """Collects what the client logs as errors instead of raising it: a failed credential plugin among them."""

    def __init__(self) -> None:
        super().__init__(level=logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def _quiet() -> Iterator[list[str]]:
    """Keeps the root logger's errors off the terminal and yields them."""
    handler = _Complaints()
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield handler.messages
    finally:
        root.removeHandler(handler)


def _credential_error(complaints: list[str], where: str) -> ClusterError:
    return ClusterError(
        f"no credentials could be had from {where}: {_harmless(complaints[-1])}",
        hint="run the credential plugin of the kubeconfig by hand, or kubectl get nodes, which uses it too",
    )


def _harmless(error: object) -> str:
    """A message of the client without what may be secret in it, on one line."""
    text = str(error)
    if "Expected key" in text:  # what follows " in " is the entry itself, token and all
        text = text.partition(" in ")[0]
    lines = redact(text.encode()).decode().split("\n")
    return " ".join(" ".join(lines).split())[:300].rstrip(". ")


def _seconds(text: str | None) -> float | None:
    """Retry-After as seconds; its other form, a date, is not used by Kubernetes."""
    return float(text) if text is not None and text.isascii() and text.isdigit() else None


def _failure(error: Exception, server: str) -> ClusterError:
    """What went wrong, in words that lead on."""
    from urllib3 import exceptions

    cause = _innermost(error)
    match error:
        case exceptions.SSLError():
            return _tls_failure(cause, server)
        case exceptions.ProxyError():
            return ClusterError(
                f"the proxy on the way to the API server {server} failed: {_harmless(cause)}",
                hint="look at proxy-url in the kubeconfig",
            )
        case exceptions.NameResolutionError():
            return ClusterError(
                f"the name of the API server {server} cannot be resolved",
                hint="is it the right cluster (--context), and does DNS work here?",
            )
        case exceptions.NewConnectionError():
            return ClusterError(
                f"cannot connect to the API server {server}: {_reason(cause)}",
                hint="is it the right cluster (--context), and does its API server run?",
            )
        # NewConnectionError is one of these, too.
        case exceptions.ConnectTimeoutError():
            return ClusterError(
                f"the API server {server} did not answer within {CONNECT_S:.0f} s",
                hint="is it the right cluster (--context), and is the way to it open (VPN, firewall)?",
            )
        case exceptions.TimeoutError():
            return ClusterError(
                f"the API server {server} was silent for {SILENCE_S:.0f} s", hint="try again when it is less busy"
            )
        case exceptions.LocationParseError() | ValueError():
            return _no_url(server)
        case _:
            return ClusterError(
                f"the connection to the API server {server} broke: {_reason(cause)}",
                hint="is something else than an API server there (http instead of https)?",
            )


def _no_url(server: str) -> ClusterError:
    return ClusterError(f"{server!r} is no URL of an API server", hint="look at `server` in the kubeconfig")


def _tls_failure(cause: BaseException, server: str) -> ClusterError:
    text = str(cause).lower()
    if "certificate verify failed" in text:
        detail = str(cause).partition("certificate verify failed: ")[2].partition(" (_ssl")[0]
        return ClusterError(
            f"the certificate of the API server {server} is not trusted: {detail or 'certificate verify failed'}",
            hint="certificate-authority-data in the kubeconfig must be that of the cluster; is it the right cluster?",
        )
    if "doesn't match" in text or "hostname mismatch" in text:
        return ClusterError(
            f"the certificate of the API server {server} is for another name: {_harmless(cause)}",
            hint="name one of the certificate's names as `server`, or set tls-server-name in the kubeconfig",
        )
    if "wrong version number" in text or "record layer" in text or "http request" in text:
        return ClusterError(
            f"what answers at {server} does not speak TLS", hint="look at `server` in the kubeconfig: https or http?"
        )
    if "alert" in text:
        return ClusterError(
            f"the API server {server} refused the TLS connection: {_reason(cause)}",
            hint="the client certificate in the kubeconfig may have expired or be of another cluster",
        )
    return ClusterError(
        f"TLS to the API server {server} failed: {_reason(cause)}",
        hint="look at the certificates that the kubeconfig names",
    )


def _innermost(error: BaseException) -> BaseException:
    """What urllib3 wrapped."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = error.__cause__ or next((item for item in error.args if isinstance(item, BaseException)), None)
        if inner is None:
            break
        error = inner
    return error


def _reason(cause: BaseException) -> str:
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.partition(" (_ssl")[0]
    text = _harmless(cause)
    return text.partition("Failed to establish a new connection: ")[2] or text or type(cause).__name__
