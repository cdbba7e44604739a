"""Snapshots are written the same way each time, survive the round trip and never hold more than can be read."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from kdiag.errors import SnapshotError
from kdiag.gather.snapshot_reader import read_snapshot
from kdiag.gather.snapshot_writer import Limits, write_snapshot
from kdiag.model.report import Gap, GapKind
from kdiag.model.snapshot import Recording, Round, Snapshot
from tests.corpus_fixtures import cluster, fault
from tests.gather.laying import lay


def same(left: Snapshot, right: Snapshot) -> bool:
    """Equal but for the manifest, which tells more once it was written."""
    return structs.replace(left, manifest={}) == structs.replace(right, manifest={})


class TestWrite:
    @pytest.mark.parametrize("ending", ["", ".tar.gz", ".tgz"])
    def test_round_trip_of_a_recording(self, tmp_path: Path, ending: str) -> None:
        write_snapshot(fault("h-split-brain"), tmp_path / f"first{ending}")
        first = read_snapshot(tmp_path / f"first{ending}")
        assert first.nodes == fault("h-split-brain").nodes
        assert set(first.api) == set(fault("h-split-brain").api)
        write_snapshot(first, tmp_path / f"second{ending}")
        assert same(first, read_snapshot(tmp_path / f"second{ending}"))

    def test_the_same_snapshot_gives_the_same_bytes(self, tmp_path: Path) -> None:
        snapshot = cluster("v1.20.2-iptables-nft")
        turned = structs.replace(
            snapshot,
            nodes={node: dict(reversed(list(snapshot.nodes[node].items()))) for node in reversed(list(snapshot.nodes))},
        )
        write_snapshot(snapshot, tmp_path / "one.tar.gz")
        os.utime(tmp_path / "one.tar.gz", (0, 0))
        write_snapshot(turned, tmp_path / "two.tar.gz")
        write_snapshot(read_snapshot(tmp_path / "one.tar.gz"), tmp_path / "three.tar.gz")
        one, two, three = ((tmp_path / f"{name}.tar.gz").read_bytes() for name in ("one", "two", "three"))
        assert one == two == three

    def test_no_secret_is_written(self, tmp_path: Path) -> None:
        key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"
        snapshot = Snapshot(
            name="c",
            api={
                "secrets": Recording(source="cluster/secrets.json", content=b"{}"),
                "odd": Recording(source="cluster/odd.json", content=b'{"kind": "SecretList", "items": []}'),
                "services": Recording(source="cluster/services.json", content=b"{}"),
            },
            nodes={"n1": {"a": Recording(source="nodes/n1/a.txt", content=key.encode(), stderr=f"x {key}")}},
            manifest={"note": key},
        )
        write_snapshot(snapshot, tmp_path / "out")
        texts = {str(path.relative_to(tmp_path / "out")): path.read_text() for path in (tmp_path / "out").rglob("*.*")}
        assert set(texts) == {"manifest.json", "cluster/services.json", "nodes/n1/a.txt"}
        assert not any("AAAA" in text for text in texts.values())

    def test_a_directory_that_is_in_use_is_left_alone(self, tmp_path: Path) -> None:
        lay(tmp_path, {"mine": "x"})
        with pytest.raises(SnapshotError, match="not empty"):
            write_snapshot(Snapshot(name="c"), tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["mine"]

    def test_a_path_that_cannot_be_written(self, tmp_path: Path) -> None:
        lay(tmp_path, {"file": "x"})
        for path in (tmp_path / "file", tmp_path / "nowhere" / "x.tar.gz"):
            with pytest.raises(SnapshotError, match="cannot write snapshot"):
                write_snapshot(Snapshot(name="c"), path)

    def test_an_archive_of_another_kind_does_not_become_a_directory(self, tmp_path: Path) -> None:
        with pytest.raises(SnapshotError, match="in this form"):
            write_snapshot(Snapshot(name="c"), tmp_path / "x.tar.zst")
        assert list(tmp_path.iterdir()) == []

    def test_a_failed_archive_leaves_nothing_behind(self, tmp_path: Path) -> None:
        (tmp_path / "x.tar.gz").mkdir()
        with pytest.raises(SnapshotError, match="cannot write snapshot"):
            write_snapshot(Snapshot(name="c"), tmp_path / "x.tar.gz")
        assert [path.name for path in tmp_path.iterdir()] == ["x.tar.gz"]

    @pytest.mark.parametrize("node", ["", "..", "a/b", "a\n", ".hidden"])
    def test_a_node_name_that_is_no_path(self, tmp_path: Path, node: str) -> None:
        snapshot = Snapshot(name="c", nodes={node: {"a": Recording(source="a.txt", content=b"")}})
        with pytest.raises(SnapshotError, match="cannot be part of a path"):
            write_snapshot(snapshot, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_two_recordings_in_one_place(self, tmp_path: Path) -> None:
        recording = Recording(source="nodes/n/a.txt", content=b"")
        with pytest.raises(SnapshotError, match="same place"):
            write_snapshot(Snapshot(name="c", nodes={"n": {"a": recording, "b": recording}}), tmp_path / "out")

    TEXT: ClassVar[st.SearchStrategy[str]] = st.text(
        st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=8
    )
    NAME: ClassVar[st.SearchStrategy[str]] = st.from_regex(r"[a-z0-9][a-z0-9-]{0,8}", fullmatch=True)

    @staticmethod
    @st.composite
    def snapshots(draw: st.DrawFn) -> Snapshot:
        def recordings(directory: str) -> dict[str, Recording]:
            return {
                item: Recording(
                    source=f"{directory}/{item}.{draw(st.sampled_from(['json', 'txt', 'log', 'txt.gz']))}",
                    content=draw(st.binary(max_size=30)),
                    exit_status=draw(st.none() | st.integers(0, 255)),
                    stderr=draw(TestWrite.TEXT | st.just("")),
                    http_status=draw(st.none() | st.integers(100, 599)),
                )
                for item in sorted(draw(st.sets(TestWrite.NAME, max_size=3)))
            }

        gaps = draw(
            st.lists(st.tuples(st.none() | TestWrite.NAME, TestWrite.TEXT, st.sampled_from(GapKind)), max_size=3)
        )
        return Snapshot(
            name=draw(TestWrite.TEXT),
            taken_at=draw(st.none() | st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))),
            api=recordings("cluster"),
            api_after=recordings("cluster-after"),
            nodes={node: recordings(f"nodes/{node}") for node in sorted(draw(st.sets(TestWrite.NAME, max_size=3)))},
            gaps=tuple(
                sorted(
                    {Gap(node=node, subject=subject, reason=subject, kind=kind) for node, subject, kind in gaps},
                    key=lambda gap: (gap.node or "", gap.subject, gap.reason, gap.kind),
                )
            ),
        )

    @given(st.data(), st.sampled_from(["d", "x.tar.gz"]))
    def test_round_trip_of_anything(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, file_name: str
    ) -> None:
        snapshot = data.draw(TestWrite.snapshots())
        path = tmp_path_factory.mktemp("round") / file_name
        write_snapshot(snapshot, path)
        assert same(snapshot, read_snapshot(path))


class TestLimits:
    """What a reader would not read is not written, and what was left out is said: never lost in between."""

    LIMITS: ClassVar[Limits] = Limits(max_file_bytes=2000, max_total_bytes=16000, max_files=40)

    @staticmethod
    def recording(source: str, size_bytes: int) -> Recording:
        return Recording(source=source, content=b"x" * size_bytes, http_status=200)

    @pytest.mark.parametrize("ending", ["", ".tar.gz"])
    def test_a_list_that_is_too_large(self, tmp_path: Path, ending: str) -> None:
        snapshot = Snapshot(
            name="c",
            api={
                "pods": self.recording("cluster/pods.json", 2001),
                "services": self.recording("cluster/services.json", 2000),
            },
            api_after={"pods": self.recording("cluster-after/pods.json", 1999)},
        )
        stored = write_snapshot(snapshot, tmp_path / f"s{ending}", limits=self.LIMITS)
        read = read_snapshot(tmp_path / f"s{ending}", limits=self.LIMITS)
        assert same(read, stored)
        assert len(read.api["services"].content) == 2000
        assert len(read.api_after["pods"].content) == 1999
        reason = "left out: it has 2001 bytes, and a file of a snapshot may have 2000 bytes"
        # It stays as a failed request: a list that was never asked for is no gap to those who would need it.
        assert read.api["pods"] == Recording(source="cluster/pods.json", content=b"", stderr=reason)
        assert read.gaps == (
            Gap(subject="cluster/pods.json", reason=f"{reason}; judge the live cluster, of which nothing is left out"),
        )

    def test_a_dump_that_is_too_large(self, tmp_path: Path) -> None:
        probes = {name: self.recording(f"nodes/n/{name}.txt", size) for name, size in (("a", 2001), ("b", 1))}
        later = Round(nodes={"n": {"a": self.recording("nodes-again-1/n/a.txt", 3000)}})
        stored = write_snapshot(
            Snapshot(name="c", nodes={"n": probes}, again=(later,)), tmp_path / "s", limits=self.LIMITS
        )
        read = read_snapshot(tmp_path / "s", limits=self.LIMITS)
        assert same(read, stored)
        assert list(read.nodes["n"]) == ["b"]
        assert read.again[0].nodes == {"n": {}}
        assert [(gap.node, gap.subject) for gap in read.gaps] == [
            ("n", "nodes-again-1/n/a.txt"),
            ("n", "nodes/n/a.txt"),
        ]

    def test_nodes_that_do_not_fit(self, tmp_path: Path) -> None:
        nodes = {f"n{number:02}": {"a": self.recording(f"nodes/n{number:02}/a.txt", 60)} for number in range(10)}
        big = {"a": self.recording("nodes/big/a.txt", 100), "b": self.recording("nodes/big/b.txt", 100)}
        limits = structs.replace(self.LIMITS, max_total_bytes=2600, max_file_bytes=2600)
        full = structs.replace(limits, max_total_bytes=700)
        assert (
            write_snapshot(Snapshot(name="c", nodes={**nodes, "big": big}), tmp_path / "all", limits=limits).gaps == ()
        )
        stored = write_snapshot(Snapshot(name="c", nodes={**nodes, "big": big}), tmp_path / "some", limits=full)
        assert list(stored.nodes) == ["big", "n00", "n01", "n02", "n03", "n04", "n05", "n06"]
        assert [gap.node for gap in stored.gaps] == ["n07", "n08", "n09"]
        assert stored.gaps[0].reason == (
            "left out: the snapshot is full, which may have 700 bytes of text and 40 files; judge the live cluster, of which "
            "nothing is left out, or only some --node"
        )
        assert same(stored, read_snapshot(tmp_path / "some"))

    @pytest.mark.parametrize(("max_files", "kept"), [(38, 10), (30, 10), (27, 9)])
    def test_as_many_files_as_can_be_read(self, tmp_path: Path, max_files: int, kept: int) -> None:
        nodes = {f"n{number}": {"a": self.recording(f"nodes/n{number}/a.txt", 1)} for number in range(10)}
        limits = Limits(max_files=max_files)
        stored = write_snapshot(Snapshot(name="c", nodes=nodes), tmp_path / "s", limits=limits)
        assert len(stored.nodes) == kept
        assert len(stored.gaps) == 10 - kept
        assert same(stored, read_snapshot(tmp_path / "s", limits=limits))

    def test_what_is_redacted_counts_as_it_is_stored(self, tmp_path: Path) -> None:
        key = b"-----BEGIN PRIVATE KEY-----\n" + b"A" * 5000 + b"\n-----END PRIVATE KEY-----"
        snapshot = Snapshot(name="c", nodes={"n": {"a": Recording(source="nodes/n/a.txt", content=key)}})
        stored = write_snapshot(snapshot, tmp_path / "s", limits=self.LIMITS)
        assert stored.gaps == ()
        assert stored.nodes["n"]["a"].content == b"REDACTED\n\n"
