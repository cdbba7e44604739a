"""`kdiag collect`: what it writes, what it says, and what it refuses before it begins."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from kdiag.gather.snapshot_reader import read_snapshot
from kdiag.gather.transports import FailureKind, NodeFailure
from tests.cli.conftest import Kdiag
from tests.corpus_fixtures import cluster
from tests.live.api_double import ApiDouble
from tests.live.fixtures import DoubleFactory, NodesFactory
from tests.live.node_double import framed

BASE = "v1.36.2-iptables-nft"


def options(server: ApiDouble, tmp_path: Path) -> list[str]:
    return ["--kubeconfig", str(server.kubeconfig(tmp_path / "kubeconfig")), "--settle", "0"]


@pytest.mark.parametrize("name", ["stored", "stored.tar.gz", "new/place/stored"])
def test_writes_a_snapshot(kdiag: Kdiag, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path, name: str) -> None:
    nodes()
    path = tmp_path / name
    outcome = kdiag("collect", "-o", str(path), *options(double(), tmp_path))
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"Wrote {path}: cluster recorded, 3 nodes, ")
    snapshot = read_snapshot(path)
    assert snapshot.name == "recorded"
    assert set(snapshot.nodes) == {"controlplane", "node01", "node02"}
    assert snapshot.api_after


def test_says_what_is_missing(kdiag: Kdiag, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path) -> None:
    server, machines = double(), nodes()
    server.trouble.bodies["/api/v1/pods"] = (403, b'{"kind": "Status", "code": 403, "reason": "Forbidden"}')
    machines.failures["node02"] = NodeFailure(FailureKind.REFUSED, "connection refused", hint="is sshd running?")
    outcome = kdiag("collect", "-o", str(tmp_path / "stored"), *options(server, tmp_path))
    assert outcome.code == 3
    assert "  node02: node: connection refused; is sshd running?" in outcome.out.splitlines()
    assert "2 nodes" in outcome.out


def test_output_that_was_saved_by_hand(
    kdiag: Kdiag, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path
) -> None:
    machines = nodes()
    for node in ("node01", "node02"):
        (tmp_path / f"{node}.out").write_bytes(framed(cluster(BASE).nodes[node], "cd" * 16))
    arguments = [f"--from-file={node}={tmp_path}/{node}.out" for node in ("node01", "node02")]
    kdiag("collect", "-o", str(tmp_path / "stored"), *arguments, *options(double(), tmp_path))
    assert set(machines.runs) == {"controlplane"}
    outcome = kdiag("check-rules", "--snapshot", str(tmp_path / "stored"))
    assert outcome.code == 0
    assert "judged 3 of 3 nodes" in outcome.out


def test_rounds_are_told(kdiag: Kdiag, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path) -> None:
    server, machines = double(), nodes()

    def change(node: str, times: int) -> None:
        with server.edited("/apis/discovery.k8s.io/v1/endpointslices") as items:
            for item in items:
                if item["metadata"]["name"].startswith("local-cluster-"):
                    item["endpoints"] = []

    machines.on_run = change
    outcome = kdiag("collect", "-o", str(tmp_path / "stored"), "--retries", "1", *options(server, tmp_path))
    assert "3 nodes, 1 round more, " in outcome.out
    manifest = json.loads((tmp_path / "stored" / "manifest.json").read_text())
    assert len(manifest["again"]) == 1
    assert (tmp_path / "stored" / "cluster-again-1" / "services.json").is_file()
    # A dump that is as it was is stored once.
    stored = read_snapshot(tmp_path / "stored")
    assert not (tmp_path / "stored" / "nodes-again-1" / "node01" / "iptables-save.txt").is_file()
    again = stored.again[0].nodes["node01"]["iptables-save"]
    assert again.content
    assert again.content == stored.nodes["node01"]["iptables-save"].content


def test_prints_the_script(kdiag: Kdiag, tmp_path: Path) -> None:
    outcome = kdiag("collect", "--print-script")
    assert (outcome.code, outcome.err) == (0, "")
    assert "iptables-save" in outcome.out
    assert kdiag("collect", "--print-script", "--sudo", "never").out != outcome.out
    (tmp_path / "script").write_text(outcome.out)
    subprocess.run(["sh", "-n", str(tmp_path / "script")], check=True)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "there is no --output to write the snapshot to"),
        (["-o", "x.zip"], "cannot write snapshot x.zip in this form"),
        (["-o", "full"], "full is not empty"),
        (["-o", "file"], "file is a file"),
        (["-o", "full.tar.gz"], "full.tar.gz is a directory"),
        (["-o", "missing/x.tar.gz"], "there is no directory missing"),
        (["-o", "new", "--node", "a", "--no-nodes"], "--node and --no-nodes exclude each other"),
        (["-o", "new", "--from-file", "node01"], "--from-file node01: not NODE=FILE"),
        (["-o", "new", "--from-file", "=x"], "--from-file =x: not NODE=FILE"),
        (["-o", "new", "--from-file", "a=x", "--from-file", "a=y"], "--from-file names a twice"),
    ],
)
def test_refused_before_anything_is_asked(
    kdiag: Kdiag,
    double: DoubleFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    error: str,
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "full.tar.gz").mkdir()
    (tmp_path / "file").touch()
    server = double()
    live = options(server, tmp_path)
    monkeypatch.chdir(tmp_path)
    outcome = kdiag("collect", *arguments, *live)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines()[0] == f"error: {error}"
    assert server.requests == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_where_nothing_may_be_written(kdiag: Kdiag, double: DoubleFactory, tmp_path: Path) -> None:
    live = options(double(), tmp_path)
    tmp_path.chmod(0o500)
    outcome = kdiag("collect", "-o", str(tmp_path / "new"), *live)
    tmp_path.chmod(0o700)
    assert "no permission to write" in outcome.err
