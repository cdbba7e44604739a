"""Large files of a snapshot: looked at first, read when somebody asks for them, and never other than they were."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from kdiag.errors import SnapshotError
from kdiag.gather import contents as reading
from kdiag.gather.contents import Limits
from kdiag.gather.packed import Packed
from kdiag.gather.places import read_contents
from kdiag.gather.redact import redact_recordings
from kdiag.gather.snapshot_reader import read_snapshot
from kdiag.gather.snapshot_writer import write_snapshot
from kdiag.model.endpoints import LazyEndpoints
from kdiag.model.objects import ObjectKey
from kdiag.model.report import Gap
from kdiag.model.snapshot import Recording
from kdiag.parse.api import parse_cluster
from tests.gather.laying import lay

LARGE = b"-A KUBE-SERVICES -j RETURN\n" * 10_000
RULES = "nodes/n1/iptables-save.txt"
PACKED_RULES = f"{RULES}.gz"
AROUND: dict[str, str | bytes | object] = {
    "cluster/services.json": {"kind": "ServiceList", "items": []},
    "nodes/n1/ip-addr.json": "[]",
}


def snapshot_with(root: Path, name: str, content: bytes = LARGE) -> Path:
    return lay(root, {**AROUND, name: content})


def rules_in(path: Path) -> Recording:
    return read_snapshot(path).nodes["n1"]["iptables-save"]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read from, in order."""
    names: list[str] = []
    real = reading.open_regular

    class Told:
        def __init__(self, path: Path) -> None:
            self._name, self._stream = path.name, real(path)

        def read(self, size: int) -> bytes:
            names.append(self._name)
            return self._stream.read(size)

        def __getattr__(self, name: str) -> object:
            return getattr(self._stream, name)

    monkeypatch.setattr(reading, "open_regular", Told)
    return names


def test_a_large_file_is_read_when_it_is_asked_for_and_not_kept(tmp_path: Path, opened: list[str]) -> None:
    recording = rules_in(snapshot_with(tmp_path, RULES))
    assert "ip-addr.json" in opened
    assert "iptables-save.txt" not in opened
    assert recording.size_bytes == len(LARGE)
    assert recording.content == LARGE
    assert recording.text() == LARGE.decode()
    assert opened.count("iptables-save.txt") == 2


def test_compressed_text_is_the_same(tmp_path: Path) -> None:
    recording = rules_in(snapshot_with(tmp_path, PACKED_RULES, gzip.compress(LARGE)))
    assert (recording.size_bytes, recording.content) == (len(LARGE), LARGE)
    assert recording == Recording(source=PACKED_RULES, content=LARGE)
    assert recording != Recording(source=PACKED_RULES, content=LARGE[:-1] + b"x")


class TestNoLongerThere:
    """An error that says so, whatever happened to the file."""

    @staticmethod
    def gone(path: Path) -> None:
        path.unlink()

    @staticmethod
    def longer(path: Path) -> None:
        path.write_bytes(path.read_bytes() + b"x")

    @staticmethod
    def other_of_the_same_length(path: Path) -> None:
        path.write_bytes(path.read_bytes()[::-1])
        os.utime(path, ns=(1, 1))

    @staticmethod
    def a_link(path: Path) -> None:
        path.rename(path.parent.parent / "elsewhere")
        path.symlink_to(path.parent.parent / "elsewhere")

    @staticmethod
    def a_pipe(path: Path) -> None:
        path.unlink()
        os.mkfifo(path)

    @pytest.mark.parametrize("change", [gone, longer, other_of_the_same_length, a_link, a_pipe])
    @pytest.mark.parametrize("name", [RULES, PACKED_RULES])
    def test_it_is_an_error(self, tmp_path: Path, name: str, change: Callable[[Path], None]) -> None:
        root = snapshot_with(tmp_path, name, gzip.compress(LARGE, 0) if name == PACKED_RULES else LARGE)
        recording = rules_in(root)
        change(root / name)
        with pytest.raises(SnapshotError, match=r"any more|not what it was") as caught:
            _ = recording.content
        assert str(root / name) in caught.value.message
        assert "again" in caught.value.hint

    def test_compressed_text_that_was_damaged_meanwhile(self, tmp_path: Path) -> None:
        packed = gzip.compress(LARGE)
        root = snapshot_with(tmp_path, PACKED_RULES, packed)
        before = (root / PACKED_RULES).stat()
        recording = rules_in(root)
        (root / PACKED_RULES).write_bytes(packed[:40] + bytes(len(packed) - 40))
        os.utime(root / PACKED_RULES, ns=(before.st_mtime_ns, before.st_mtime_ns))
        with pytest.raises(SnapshotError, match=r"any more|not what it was"):
            _ = recording.content


class TestLimits:
    LIMITS = Limits(max_file_bytes=200_000, max_total_bytes=500_000)

    def test_a_file_too_large_is_not_even_opened_for_reading(self, tmp_path: Path, opened: list[str]) -> None:
        found = read_snapshot(snapshot_with(tmp_path, RULES), limits=self.LIMITS)
        assert "iptables-save" not in found.nodes["n1"]
        assert found.gaps == (Gap(node="n1", subject=RULES, reason="it is larger than 200000 bytes: not read"),)
        assert "iptables-save.txt" not in opened

    def test_what_counts_of_compressed_text_is_the_text(self, tmp_path: Path) -> None:
        found = read_snapshot(snapshot_with(tmp_path, PACKED_RULES, gzip.compress(LARGE)), limits=self.LIMITS)
        assert found.gaps == (Gap(node="n1", subject=PACKED_RULES, reason="it is larger than 200000 bytes: not read"),)

    def test_files_that_are_too_much_together(self, tmp_path: Path) -> None:
        lay(tmp_path, {**AROUND, **{f"nodes/n{number}/iptables-save.txt": LARGE[:180_000] for number in range(4)}})
        found = read_contents(tmp_path, self.LIMITS)
        assert sum(path[-1] == "iptables-save.txt" for path in found.files) == 2
        assert [problem.reason for problem in found.problems] == [
            "it holds more than 500000 bytes: the rest was not read"
        ]

    def test_of_two_limits_the_one_that_is_met_first_is_told(self, tmp_path: Path) -> None:
        found = read_contents(snapshot_with(tmp_path, RULES), Limits(max_file_bytes=200_000, max_total_bytes=150_000))
        assert [problem.reason for problem in found.problems] == [
            "it holds more than 150000 bytes: the rest was not read"
        ]


class TestArchives:
    def test_text_beyond_a_limit_is_held_packed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        dumps = {f"nodes/n{number}/iptables-save.txt": LARGE + b"%d\n" % number for number in range(3)}
        written = read_snapshot(lay(tmp_path / "directory", {**AROUND, **dumps}))
        write_snapshot(written, tmp_path / "x.tar.gz")
        monkeypatch.setattr(reading, "_LEFT_UNPACKED_BYTES", len(LARGE) + 100)
        found = read_contents(tmp_path / "x.tar.gz", Limits()).files
        packed = [path[1] for path, content in found.items() if isinstance(content, Packed)]
        assert packed == ["n1", "n2"]
        assert read_snapshot(tmp_path / "x.tar.gz").nodes == written.nodes

    def test_packed_text_is_what_it_was(self) -> None:
        packed = Packed(LARGE)
        assert (packed.size_bytes, packed.read()) == (len(LARGE), LARGE)


SLICES: dict[str, object] = {
    "kind": "EndpointSliceList",
    "apiVersion": "discovery.k8s.io/v1",
    "metadata": {},
    "items": [
        {
            "metadata": {"name": f"web-{number}", "namespace": "default", "labels": {"x": "y" * 200}},
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": [f"10.0.{number % 256}.7"], "targetRef": {"kind": "Pod", "name": f"p{number}"}}
            ],
            "ports": [{"port": 80}],
        }
        for number in range(400)
    ],
}


class TestPartsOfLists:
    @staticmethod
    def listed() -> bytes:
        items = b",\n".join(json.dumps(item).encode() for item in cast(list[object], SLICES["items"]))
        return json.dumps({**SLICES, "items": []}).encode().removesuffix(b"]}") + b"\n" + items + b"\n]}\n"

    def test_of_a_list_only_what_is_looked_at_is_read_again(self, tmp_path: Path, opened: list[str]) -> None:
        content = self.listed().replace(b'"items": [\n', b'"items":[\n')
        whole, _ = parse_cluster({"endpointslices-v1": Recording(source="x", content=content)})
        lay(tmp_path, {**AROUND, "cluster/endpointslices-v1.json": content})
        state, _ = parse_cluster(read_snapshot(tmp_path).api)
        assert isinstance(state.slices[7].endpoints, LazyEndpoints)
        opened.clear()
        assert state.slices[7].endpoints == whole.slices[7].endpoints
        assert opened == ["endpointslices-v1.json"]
        assert [item.endpoints for item in state.slices] == [item.endpoints for item in whole.slices]
        (tmp_path / "cluster" / "endpointslices-v1.json").unlink()
        assert state.slices[7].endpoints == whole.slices[7].endpoints

    @pytest.mark.parametrize("name", ["cluster/endpointslices-v1.json", "cluster/endpointslices-v1.json.gz"])
    def test_a_list_that_vanished_is_an_error_or_was_kept(self, tmp_path: Path, name: str) -> None:
        content = self.listed().replace(b'"items": [\n', b'"items":[\n')
        lay(tmp_path, {**AROUND, name: gzip.compress(content) if name.endswith(".gz") else content})
        state, _ = parse_cluster(read_snapshot(tmp_path).api)
        (tmp_path / name).unlink()
        if name.endswith(".gz"):
            assert state.slices[3].endpoints[0].target == ObjectKey(namespace="", name="p3")
        else:
            with pytest.raises(SnapshotError, match="any more"):
                _ = state.slices[3].endpoints[0]

    @pytest.mark.parametrize("piece_bytes", [1, 64, 700, 4000, 1 << 20])
    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (b"", b""),
            (b'"addressType"', b'\n"addressType"'),
            (b"Pod", b"P,\nd"),
            (b'"p5"', b"5"),
            (b"},\n{", b"},\n\n{"),
            (b"}\n]}\n", b"},\n\n]}\n"),
            (b"]}\n", b"\n]}\n"),
            (b"]}\n", b"]\n"),
            (b"web-399", b"web-" + b"9" * 9000),
        ],
    )
    def test_a_file_is_read_piece_by_piece_as_it_is_as_a_whole(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece_bytes: int, old: bytes, new: bytes
    ) -> None:
        content = self.listed().replace(b'"items": [\n', b'"items":[\n').replace(old, new)
        whole = parse_cluster(
            {"endpointslices-v1": Recording(source="cluster/endpointslices-v1.json", content=content)}
        )
        lay(tmp_path, {**AROUND, "cluster/endpointslices-v1.json": content})
        api = {"endpointslices-v1": read_snapshot(tmp_path).api["endpointslices-v1"]}
        monkeypatch.setattr("kdiag.parse.api_lines._PIECE_BYTES", piece_bytes)
        found = parse_cluster(api)
        assert found == whole
        assert [item.numbers() for item in found[0].slices] == [item.numbers() for item in whole[0].slices]

    @pytest.mark.parametrize("packed", [False, True])
    def test_parts_are_what_stands_there(self, tmp_path: Path, packed: bool) -> None:
        name = PACKED_RULES if packed else RULES
        content = bytes(range(256)) * 400
        root = snapshot_with(tmp_path, name, gzip.compress(content) if packed else content)
        stored = read_contents(root, Limits()).files[tuple(name.split("/"))]
        assert not isinstance(stored, bytes)
        assert stored.has_parts is not packed
        assert stored.part(1000, 70_000) == Packed(content).part(1000, 70_000) == content[1000:70_000]


def test_secrets_are_blotted_out_of_what_is_stored_and_the_rest_stays_where_it_is(
    tmp_path: Path, opened: list[str]
) -> None:
    lay(tmp_path, {**AROUND, RULES: LARGE, "nodes/n1/kube-proxy.log": LARGE + b"password: hunter2hunter2\n"})
    found = read_snapshot(tmp_path).nodes["n1"]
    clean = redact_recordings(found)
    assert clean["kube-proxy"].content == LARGE + b"password: REDACTED\n"
    assert clean["iptables-save"] is found["iptables-save"]
    assert opened.count("iptables-save.txt") == 1


def test_a_snapshot_that_was_read_is_written_as_it_was(tmp_path: Path) -> None:
    found = read_snapshot(snapshot_with(tmp_path / "a", RULES))
    write_snapshot(found, tmp_path / "b")
    assert (tmp_path / "b" / RULES).read_bytes() == LARGE
    assert read_snapshot(tmp_path / "b").nodes == found.nodes
