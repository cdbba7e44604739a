"""What several nodes have alike stands in a snapshot once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kdiag.gather.snapshot_reader import read_snapshot
from kdiag.gather.snapshot_writer import Limits, write_snapshot
from kdiag.model.snapshot import Recording, Snapshot

DUMP = b"*nat\n" + b"-A KUBE-SEP-X -j DNAT\n" * 500 + b"COMMIT\n"
OTHER = DUMP.replace(b"X", b"Y", 1)


def node(name: str, dump: bytes) -> dict[str, Recording]:
    return {
        "iptables-save": Recording(source=f"nodes/{name}/iptables-save.txt", content=dump, exit_status=0, stderr=name),
        "ip-addr": Recording(source=f"nodes/{name}/ip-addr.json", content=b"[]", exit_status=0),
    }


def snapshot(**dumps: bytes) -> Snapshot:
    return Snapshot(name="c", nodes={name: node(name, dump) for name, dump in dumps.items()})


@pytest.mark.parametrize("place", ["snapshot", "snapshot.tar.gz"])
def test_equal_dumps_are_written_once_and_read_as_one(place: str, tmp_path: Path) -> None:
    wanted = snapshot(a=DUMP, b=OTHER, c=bytes(bytearray(DUMP)))
    write_snapshot(wanted, tmp_path / place)
    found = read_snapshot(tmp_path / place)
    assert found.nodes == wanted.nodes
    assert found.gaps == ()
    assert found.nodes["a"]["iptables-save"].content is found.nodes["c"]["iptables-save"].content
    if place == "snapshot":
        assert sorted(
            str(file.relative_to(tmp_path / place)) for file in (tmp_path / place).rglob("iptables-save.txt")
        ) == [
            "nodes/a/iptables-save.txt",
            "nodes/b/iptables-save.txt",
        ]
        assert (tmp_path / place / "nodes/c/ip-addr.json").exists()


def test_equal_dumps_count_once_against_the_limit(tmp_path: Path) -> None:
    wanted = snapshot(**{f"n{number}": DUMP for number in range(50)})
    limits = Limits(max_total_bytes=4 * len(DUMP))
    stored = write_snapshot(wanted, tmp_path / "snapshot", limits=limits)
    assert stored.gaps == ()
    assert read_snapshot(tmp_path / "snapshot", limits=limits).nodes == wanted.nodes
    different = snapshot(**{f"n{number}": DUMP + b"#%d" % number for number in range(50)})
    assert write_snapshot(different, tmp_path / "other", limits=limits).gaps != ()


def test_a_node_with_nothing_of_its_own_is_there(tmp_path: Path) -> None:
    alone = {name: {"iptables-save": node(name, DUMP)["iptables-save"]} for name in ("a", "b")}
    write_snapshot(Snapshot(name="c", nodes=alone), tmp_path / "snapshot")
    assert read_snapshot(tmp_path / "snapshot").nodes == alone


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("nodes/z/iptables-save.txt", "which is not there"),
        ("nodes/c/iptables-save.txt", "which is not there"),
        ("nodes/a/ip-addr.json", "does not name another node's file"),
        ("cluster/services.json", "does not name another node's file"),
        ("nodes/../iptables-save.txt", "does not name another node's file"),
        ("iptables-save.txt", "does not name another node's file"),
    ],
)
def test_what_is_said_to_be_elsewhere_and_is_not_is_a_gap(target: str, reason: str, tmp_path: Path) -> None:
    write_snapshot(snapshot(a=DUMP, c=DUMP), tmp_path / "snapshot")
    manifest = tmp_path / "snapshot/manifest.json"
    facts = json.loads(manifest.read_text())
    assert facts["files"]["nodes/c/iptables-save.txt"]["same_as"] == "nodes/a/iptables-save.txt"
    facts["files"]["nodes/c/iptables-save.txt"]["same_as"] = target
    manifest.write_text(json.dumps(facts))
    found = read_snapshot(tmp_path / "snapshot")
    assert "iptables-save" not in found.nodes["c"]
    assert [gap for gap in found.gaps if reason in gap.reason]


def test_a_file_that_is_there_is_itself(tmp_path: Path) -> None:
    write_snapshot(snapshot(a=DUMP, c=DUMP), tmp_path / "snapshot")
    (tmp_path / "snapshot/nodes/c/iptables-save.txt").write_bytes(OTHER)
    assert read_snapshot(tmp_path / "snapshot").nodes["c"]["iptables-save"].content == OTHER
