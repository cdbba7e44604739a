"""Runs the command line in this process and returns all three things that it answers with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from kdiag.cli.main import run
from kdiag.gather.snapshot_writer import write_snapshot
from tests.corpus_fixtures import cluster, fault
from tests.live.fixtures import authority, bare_environment, double, nodes

__all__ = ["authority", "bare_environment", "double", "nodes"]


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Kdiag = Callable[..., Outcome]


@pytest.fixture
def kdiag(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Kdiag:
    monkeypatch.delenv("NO_COLOR", raising=False)

    def call(*arguments: str) -> Outcome:
        code = run(list(arguments))
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of a cluster where every Service works that has endpoints."""
    path = tmp_path_factory.mktemp("healthy") / "snapshot.tar.gz"
    write_snapshot(cluster("v1.30.3-iptables-nft"), path)
    return path


@pytest.fixture(scope="session")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with one node that no longer follows the API."""
    path = tmp_path_factory.mktemp("faulty") / "snapshot"
    write_snapshot(fault("a-stale-node"), path)
    return path
