"""API servers for the tests of live gathering."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from kdiag.gather import transports
from tests.corpus_fixtures import cluster
from tests.live.api_double import ApiDouble
from tests.live.certificates import Authority
from tests.live.node_double import NodeDouble

DoubleFactory = Callable[..., ApiDouble]
NodesFactory = Callable[..., NodeDouble]


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
