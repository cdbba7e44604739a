"""Names after TAB: from a snapshot and from a live API, in time or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kdiag.cli import fast_completion
from kdiag.gather import names
from kdiag.gather.snapshot_reader import demo_snapshot
from kdiag.gather.snapshot_writer import write_snapshot
from tests.live.fixtures import DoubleFactory


def offered(*typed: str) -> list[str]:
    return [word for word, _ in fast_completion.offered(typed[:-1], typed[-1])[0]]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["preflight", "--demo", "default/we"], ["default/web"]),
        (["preflight", "--demo", "-n", "default", "we"], ["web"]),
        (["trace", "--demo", "svc/we"], ["svc/web"]),
        (["preflight", "--demo", "--node", "node"], ["node01", "node02"]),
        (["preflight", "--demo", "--node", "node02", "--node", "node"], ["node01"]),
        (["trace", "--demo", "--node", "c"], ["controlplane"]),
        (["trace", "--demo", "--from", "e"], ["external"]),
        (["trace", "--demo", "--from", "node/n"], ["node/node01", "node/node02"]),
        (["trace", "--demo", "--from", "pod/cli"], ["pod/client"]),
        (["preflight", "--demo", "-n", "kube-s"], ["kube-system"]),
        (["preflight", "--snapshot", "/no/such/thing", "w"], []),
    ],
)
def test_names_of_a_recording(typed: list[str], expected: list[str]) -> None:
    assert [word for word in offered(*typed) if word in expected or not expected] == expected


@pytest.mark.parametrize("place", ["snapshot.tar.gz", "snapshot"])
def test_names_of_a_snapshot(tmp_path: Path, place: str) -> None:
    write_snapshot(demo_snapshot(), tmp_path / place)
    assert offered("preflight", "--snapshot", str(tmp_path / place), "--node", "c") == ["controlplane"]


def test_names_of_a_live_cluster(double: DoubleFactory, tmp_path: Path) -> None:
    config = str(double().kubeconfig(tmp_path / "config"))
    found = offered("preflight", "--kubeconfig", config, "kube-system/")
    assert "kube-system/kube-dns" in found
    assert offered("preflight", "--kubeconfig", config, "--context", "adm") == ["admin@recorded"]


def test_a_slow_api_holds_nothing_up(double: DoubleFactory, tmp_path: Path) -> None:
    server = double()
    server.trouble.delay_s["/api/v1/services"] = 20.0
    config = str(server.kubeconfig(tmp_path / "config"))
    typed = f"kdiag preflight --kubeconfig {config} default/"
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "kdiag"],
        env={**os.environ, "_KDIAG_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": "4"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("config", ["", "{", "contexts: 7", "current-context: x"])
def test_a_broken_kubeconfig_is_no_error(config: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config"
    path.write_text(config)
    assert offered("preflight", "--kubeconfig", str(path), "w") == []
    assert offered("preflight", "--kubeconfig", str(path), "--context", "") == []
    assert capfd.readouterr() == ("", "")


def test_plain_name_lists(tmp_path: Path) -> None:
    (tmp_path / "cluster").mkdir()
    assert names.context_names(tmp_path / "none") == []
    (tmp_path / "cluster/nodes.json").write_text('{"items": [{"metadata": {"name": "a"}}]}')
    assert names.recorded_names(tmp_path, "nodes") == [("", "a")]
