"""Snapshots are read as they lie: with their own names, in parts, damaged, from strangers."""

from __future__ import annotations

import gzip
import tarfile
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

import kdiag
from kdiag.errors import SnapshotError
from kdiag.gather.snapshot_reader import FORMAT, Limits, demo_snapshot, read_snapshot
from kdiag.gather.snapshot_writer import write_snapshot
from kdiag.model.report import Gap, GapKind
from kdiag.model.snapshot import Recording
from tests.corpus_fixtures import HEALTHY_IPTABLES, cluster, fault
from tests.gather.laying import lay

SERVICES = '{"kind": "ServiceList", "items": []}'


class TestRead:
    def test_the_layout(self, tmp_path: Path) -> None:
        snapshot = read_snapshot(
            lay(
                tmp_path,
                {
                    "manifest.json": {
                        "format": FORMAT,
                        "cluster": "prod",
                        "taken_at": "2026-11-23T01:00:00+01:00",
                        "settle_s": 2.5,
                        "files": {
                            "nodes/n1/iptables-save.txt": {"exit_status": 1, "stderr": "oops\n"},
                            "cluster/services.json": {"http_status": 200},
                        },
                        "gaps": [{"node": "n2", "subject": "node", "reason": "no route to host"}],
                    },
                    "cluster/services.json": SERVICES,
                    "cluster-after/services.json": SERVICES,
                    "nodes/n1/iptables-save.txt": "*nat",
                    "nodes/n1/nft-list-ruleset.json.gz": gzip.compress(b"{}"),
                    "nodes/n1/kube-proxy.log": "I1123",
                    "nodes/n1/processes": "init",
                },
            )
        )
        assert snapshot.name == "prod"
        assert snapshot.taken_at == datetime(2026, 11, 23, tzinfo=UTC)
        assert snapshot.manifest["settle_s"] == 2.5
        assert snapshot.gaps == (Gap(node="n2", subject="node", reason="no route to host"),)
        assert snapshot.api["services"] == Recording(
            source="cluster/services.json", content=SERVICES.encode(), http_status=200
        )
        assert snapshot.api_after["services"].source == "cluster-after/services.json"
        assert list(snapshot.nodes["n1"]) == ["iptables-save", "kube-proxy", "nft-list-ruleset", "processes"]
        assert snapshot.nodes["n1"]["iptables-save"] == Recording(
            source="nodes/n1/iptables-save.txt", content=b"*nat", exit_status=1, stderr="oops\n"
        )
        assert snapshot.nodes["n1"]["nft-list-ruleset"] == Recording(
            source="nodes/n1/nft-list-ruleset.json.gz", content=b"{}"
        )

    def test_a_recording_with_its_own_names(self, tmp_path: Path) -> None:
        root = lay(
            tmp_path / "somewhere",
            {
                "manifest.json": {"name": "v1.20.2", "recorded_at": "2026-11-23T00:49:20Z", "synced": True},
                "cluster/_requests.json": {
                    "services": {"path": "/api/v1/services", "http_status": 200},
                    "endpointslices-v1": {"http_status": 404},
                },
                "cluster/services.json": SERVICES,
                "cluster/endpointslices-v1.json": "404 page not found",
                "cluster/version.json": {},
                "nodes/n1/iptables-save.txt": "",
                "nodes/n1/iptables-save.stderr.txt": "# Warning: legacy",
                "nodes/n1/ip6tables-save.stderr.txt": "not found",
            },
        )
        snapshot = read_snapshot(root)
        assert snapshot.name == "v1.20.2"
        assert snapshot.taken_at == datetime(2026, 11, 23, 0, 49, 20, tzinfo=UTC)
        assert {kind: item.http_status for kind, item in snapshot.api.items()} == {
            "endpointslices-v1": 404,
            "services": 200,
            "version": None,
        }
        assert snapshot.nodes["n1"]["iptables-save"].stderr == "# Warning: legacy"
        assert snapshot.nodes["n1"]["ip6tables-save"] == Recording(
            source="nodes/n1/ip6tables-save.txt", content=b"", stderr="not found"
        )
        assert snapshot.gaps == ()

    def test_no_manifest_at_all(self, tmp_path: Path) -> None:
        lay(tmp_path, {"prod/cluster/services.json": SERVICES})
        snapshot = read_snapshot(tmp_path / "prod")
        assert (snapshot.name, snapshot.taken_at, snapshot.gaps) == ("prod", None, ())
        with tarfile.open(tmp_path / "prod-1.2.tar.gz", "w:gz") as archive:
            archive.add(tmp_path / "prod", "prod")
        assert read_snapshot(tmp_path / "prod-1.2.tar.gz").name == "prod-1.2"

    def test_a_compressed_manifest(self, tmp_path: Path) -> None:
        lay(tmp_path, {"manifest.json.gz": gzip.compress(b'{"cluster": "c"}'), "cluster/services.json": SERVICES})
        assert read_snapshot(tmp_path).name == "c"

    def test_the_current_directory_has_a_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        lay(tmp_path / "prod", {"cluster/services.json": SERVICES})
        monkeypatch.chdir(tmp_path / "prod")
        assert read_snapshot(Path()).name == "prod"

    def test_two_files_of_one_probe_are_both_kept(self, tmp_path: Path) -> None:
        lay(
            tmp_path,
            {
                "nodes/n1/ip-addr.json": "[]",
                "nodes/n1/ip-addr.txt": "1: lo",
                "nodes/n1/ip-addr.odd": "?",
                "nodes/n1/ip-addr": "-",
                "nodes/n2/ip-addr.json": "[]",
                "nodes/n2/ip-addr.txt": "1: lo",
            },
        )
        assert sorted(read_snapshot(tmp_path).nodes["n2"]) == ["ip-addr", "ip-addr.txt"]
        assert read_snapshot(tmp_path).nodes["n2"]["ip-addr"].text() == "[]"
        assert {probe: item.text() for probe, item in read_snapshot(tmp_path).nodes["n1"].items()} == {
            "ip-addr": "-",
            "ip-addr.json": "[]",
            "ip-addr.odd": "?",
            "ip-addr.txt": "1: lo",
        }

    def test_a_file_beside_its_own_compressed_form(self, tmp_path: Path) -> None:
        lay(tmp_path, {"nodes/n1/a.txt": "plain", "nodes/n1/a.txt.gz": gzip.compress(b"packed")})
        snapshot = read_snapshot(tmp_path)
        assert snapshot.nodes["n1"]["a"].text() == "plain"
        assert snapshot.gaps == (
            Gap(node="n1", subject="nodes/n1/a.txt.gz", reason="not read: nodes/n1/a.txt is there too"),
        )

    def test_a_node_of_which_nothing_was_read(self, tmp_path: Path) -> None:
        lay(tmp_path, {"cluster/services.json": SERVICES})
        (tmp_path / "nodes" / "n1").mkdir(parents=True)
        assert read_snapshot(tmp_path).nodes == {"n1": {}}

    def test_a_part_that_cannot_be_read_is_a_gap_with_its_node(self, tmp_path: Path) -> None:
        lay(tmp_path, {"cluster/services.json": SERVICES, "nodes/n1/iptables-save.txt.gz": b"\x1f\x8b\x08"})
        snapshot = read_snapshot(tmp_path)
        (gap,) = snapshot.gaps
        assert (gap.node, gap.subject, gap.kind) == ("n1", "nodes/n1/iptables-save.txt.gz", GapKind.FAILED)
        assert snapshot.nodes["n1"] == {}

    def test_the_limits_hold(self, tmp_path: Path) -> None:
        lay(tmp_path, {"cluster/services.json": SERVICES, "nodes/n1/a.txt": "x" * 2000})
        (gap,) = read_snapshot(tmp_path, limits=Limits(max_file_bytes=1000)).gaps
        assert "larger than 1000 bytes" in gap.reason


class TestNothingToRead:
    def test_a_directory_without_anything(self, tmp_path: Path) -> None:
        lay(tmp_path, {"manifest.json": {}, "README.md": "x", "nodes/x": ""})
        with pytest.raises(SnapshotError, match=r"neither cluster/ nor nodes/.*nodes/x: a file") as caught:
            read_snapshot(tmp_path)
        assert "kdiag collect" in caught.value.hint

    def test_a_snapshot_that_could_gather_nothing_still_tells_why(self, tmp_path: Path) -> None:
        gap = {"subject": "services", "reason": "forbidden"}
        lay(tmp_path, {"manifest.json": {"format": FORMAT, "gaps": [gap]}})
        assert read_snapshot(tmp_path).gaps == (Gap(subject="services", reason="forbidden"),)

    def test_a_later_format(self, tmp_path: Path) -> None:
        lay(tmp_path, {"manifest.json": {"format": "kdiag/snapshot/v2"}, "cluster/services.json": SERVICES})
        with pytest.raises(SnapshotError, match="v2") as caught:
            read_snapshot(tmp_path)
        assert "newer kdiag" in caught.value.hint


class TestWrongTypes:
    @pytest.mark.parametrize(
        ("manifest", "reason"),
        [
            ([], "not a JSON object"),
            (b"{", "not a JSON object"),
            (b"\xff", "not a JSON object"),
            (b"[" * 100_000, "not a JSON object"),
            ({"files": []}, "`files` is not an object"),
            ({"gaps": {}}, "`gaps` is not a list"),
            ({"gaps": [1]}, "an entry of `gaps` has no subject"),
            ({"gaps": [{"subject": "x", "kind": "odd"}]}, "an entry of `gaps` has no subject or an unknown kind"),
            ({"taken_at": 5}, "not an RFC 3339 time"),
            ({"taken_at": "yesterday"}, "not an RFC 3339 time"),
            ({"taken_at": "0001-01-01T00:00:00+23:00"}, "not an RFC 3339 time"),
        ],
    )
    def test_in_the_manifest(self, tmp_path: Path, manifest: object, reason: str) -> None:
        lay(tmp_path, {"manifest.json": manifest, "cluster/services.json": SERVICES})
        snapshot = read_snapshot(tmp_path)
        assert "services" in snapshot.api
        (gap,) = snapshot.gaps
        assert gap.subject == "manifest.json"
        assert reason in gap.reason

    def test_of_single_facts(self, tmp_path: Path) -> None:
        facts = {
            "cluster/services.json": {"http_status": "200", "stderr": 1, "exit_status": True},
            "cluster/pods.json": 7,
        }
        lay(
            tmp_path,
            {
                "manifest.json": {"cluster": 3, "name": "n", "files": facts, "taken_at": "2026-11-23T00:00:00"},
                "cluster/services.json": SERVICES,
                "cluster/pods.json": "{}",
                "cluster/_requests.json": {"pods": 1, "services": {"http_status": None}},
            },
        )
        snapshot = read_snapshot(tmp_path)
        assert snapshot.name == "n"
        assert snapshot.taken_at == datetime(2026, 11, 23, tzinfo=UTC)
        assert snapshot.api["services"] == Recording(source="cluster/services.json", content=SERVICES.encode())
        assert snapshot.api["pods"].http_status is None

    def test_of_the_requests(self, tmp_path: Path) -> None:
        lay(tmp_path, {"cluster/services.json": SERVICES, "cluster/_requests.json": "[]"})
        snapshot = read_snapshot(tmp_path)
        assert list(snapshot.api) == ["services"]
        assert [gap.subject for gap in snapshot.gaps] == ["cluster/_requests.json"]

    def test_what_is_printed_moves_no_cursor(self, tmp_path: Path) -> None:
        gap = {"node": "n\x1b[2J", "subject": "s\n", "reason": "r\x07"}
        lay(tmp_path, {"manifest.json": {"cluster": "c\x1b[31m", "gaps": [gap]}, "cluster/services.json": SERVICES})
        snapshot = read_snapshot(tmp_path)
        (read,) = snapshot.gaps
        for text in (snapshot.name, read.node, read.subject, read.reason):
            assert text is not None
            assert text.isprintable()


class TestDemo:
    def test_it_comes_from_the_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        written = cluster("v1.36.2-iptables-nft")
        (tmp_path / "demo").mkdir()
        write_snapshot(written, tmp_path / "demo" / "cluster.tar.gz")
        monkeypatch.setattr(kdiag, "__file__", str(tmp_path / "__init__.py"))
        assert demo_snapshot().nodes == written.nodes


class TestCorpus:
    @pytest.mark.parametrize("name", HEALTHY_IPTABLES)
    def test_a_whole_cluster_is_read_without_gaps(self, name: str) -> None:
        snapshot = cluster(name)
        assert snapshot.name == name
        assert snapshot.gaps == ()
        assert set(snapshot.nodes) == {"controlplane", "node01", "node02"}
        assert snapshot.taken_at is not None
        assert snapshot.api["services"].http_status == 200

    def test_it_takes_well_below_a_second(self, tmp_path: Path) -> None:
        path = tmp_path / "x.tar.gz"
        write_snapshot(cluster("dual-v1.36.2-iptables-nft"), path)
        begin = time.process_time()
        read_snapshot(path)
        assert time.process_time() - begin < 0.5

    def test_what_a_command_said_beside_is_kept(self) -> None:
        assert "iptables-legacy tables present" in fault("h-split-brain").nodes["node02"]["iptables-save"].stderr
