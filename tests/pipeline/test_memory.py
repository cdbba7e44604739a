"""One node's rules at a time: the rules of nodes that nobody asks about are not read, and those of judged ones are let go."""

from __future__ import annotations

import gc
import shutil
from pathlib import Path

import pytest

from bench.generator.cluster import Options, make_cluster
from bench.generator.snapshot import write_snapshot
from kdiag.errors import SnapshotError
from kdiag.gather import contents
from kdiag.gather.snapshot_reader import read_snapshot
from kdiag.parse.iptables_parts import CutDump
from kdiag.pipeline import evidence, examining
from kdiag.pipeline.flow import Scope, collect_settings, diagnose
from kdiag.pipeline.viewing import build_view
from kdiag.planes.interface import NodeEvidence

NODES = tuple(f"node-{number:04}" for number in range(4))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four nodes whose dumps are large enough to be cut up, and differ."""
    place = tmp_path_factory.mktemp("large") / "snapshot"
    write_snapshot(make_cluster(Options(services=120, endpoints=6, nodes=4, diff=0.02, plant=1)), place)
    return place


def test_of_other_nodes_nothing_large_is_read(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = contents.open_regular

    def told(path: Path) -> object:
        read.append(path.parent.name)
        return real(path)

    snapshot = read_snapshot(large)
    monkeypatch.setattr(contents, "open_regular", told)
    build_view(snapshot, nodes=NODES[1:2])
    assert set(read) == {"cluster", NODES[1]}


def test_for_settings_no_endpoints_are_read(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = contents.open_regular

    def told(path: Path) -> object:
        read.append(path.name)
        return real(path)

    snapshot = read_snapshot(large)
    monkeypatch.setattr(contents, "open_regular", told)
    assert collect_settings(snapshot).facts
    assert "services.json" in read
    assert "endpointslices-v1.json" not in read


def test_a_judged_node_leaves_no_dump_behind(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[int] = []
    real = evidence.read_evidence

    def counting(*given: object, **named: object) -> NodeEvidence:
        alive.append(sum(isinstance(item, CutDump) for item in gc.get_objects()))
        return real(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(examining, "read_evidence", counting)
    gc.collect()
    before = sum(isinstance(item, CutDump) for item in gc.get_objects())
    gc.disable()  # nothing may hang on Python's finding a cycle
    try:
        build_view(read_snapshot(large))
    finally:
        gc.enable()
    # The first one's is kept: the others are compared with it.
    assert [count - before for count in alive] == [0, 1, 1, 1]


def test_a_dump_that_vanishes_is_an_error_that_says_so(large: Path, tmp_path: Path) -> None:
    shutil.copytree(large, tmp_path / "copy")
    snapshot = read_snapshot(tmp_path / "copy")
    (tmp_path / "copy" / "nodes" / NODES[2] / "iptables-save.txt").unlink()
    with pytest.raises(SnapshotError, match=f"{NODES[2]}/iptables-save.txt any more: No such file"):
        diagnose(snapshot, Scope())


def test_what_checks_do_not_look_at_makes_no_difference(large: Path) -> None:
    snapshot = read_snapshot(large)
    report = diagnose(snapshot, Scope())
    assert report.findings
    detailed = diagnose(snapshot, Scope(with_overview=True))
    assert (report.findings, report.gaps) == (detailed.findings, detailed.gaps)
    assert report.services_judged == detailed.services_judged
