"""API servers for the tests of live gathering: a double, and a real one where the machine has the binaries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from kdiag.gather import transports
from tests.corpus_fixtures import cluster
from tests.live.api_double import ApiDouble, rbac_grants
from tests.live.certificates import Authority
from tests.live.node_double import NodeDouble
from tests.live.real_api import RealApi, why_not

DoubleFactory = Callable[..., ApiDouble]
NodesFactory = Callable[..., NodeDouble]


class ApiServer(Protocol):
    """What a test can do with either server. `base` is the recording that it holds."""

    base: str

    def kubeconfig(self, path: Path, *, server: str | None = None) -> Path: ...

    def edited(self, path: str) -> AbstractContextManager[list[dict[str, Any]]]: ...


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def double(authority: Authority, bare_environment: None) -> Iterator[DoubleFactory]:
    """Starts an API server (with TLS) that serves a recording and is stopped after the test."""
    with ExitStack() as stack:

        def start(name: str = "v1.36.2-iptables-nft", **settings: Any) -> ApiDouble:
            return stack.enter_context(ApiDouble(cluster(name), **{"authority": authority, **settings}))

        yield start


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the machine that runs the tests may matter."""
    for variable in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> NodesFactory:
    """Puts the recorded nodes of a cluster behind `--transport ssh`."""

    def start(name: str = "v1.36.2-iptables-nft") -> NodeDouble:
        found = NodeDouble(cluster(name).nodes)
        monkeypatch.setattr(transports, "TRANSPORTS", (found.entry(), *transports.TRANSPORTS[1:]))
        return found

    return start


@pytest.fixture(scope="session")
def real_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealApi]:
    """One real API server for all tests: it takes its time to start."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with RealApi(tmp_path_factory.mktemp("real-api")) as started:
        yield started


@pytest.fixture(params=["double", "real"])
def server(request: pytest.FixtureRequest, bare_environment: None) -> Iterator[ApiServer]:
    """An API server that lets kdiag do what deploy/rbac.yaml grants: the double, and a real one."""
    if request.param == "real":
        real: RealApi = request.getfixturevalue("real_api")
        yield real
        real.restore()
        return
    base = "v1.36.2-iptables-nft"
    with ApiDouble(cluster(base), authority=request.getfixturevalue("authority"), grants=rbac_grants()) as double:
        double.base = base
        yield double
