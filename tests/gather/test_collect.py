"""A cluster gathered: in which order, what becomes of failures, and that a stored snapshot says the same."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kdiag.errors import TargetError, UsageError
from kdiag.gather import collect
from kdiag.gather.api import read_moving
from kdiag.gather.api_connection import connect
from kdiag.gather.collect import Collector, Order, Silent
from kdiag.gather.snapshot_reader import read_snapshot
from kdiag.gather.snapshot_writer import write_snapshot
from kdiag.gather.transports import FailureKind, NodeFailure
from kdiag.model.report import GapKind
from kdiag.model.snapshot import Snapshot
from tests.corpus_fixtures import cluster
from tests.live.api_double import ApiDouble
from tests.live.fixtures import DoubleFactory, NodesFactory
from tests.live.node_double import framed

NODES = ["controlplane", "node01", "node02"]
SERVICES = "/api/v1/services"
AT_ONCE = Order(settle_s=0.0)


class Journal(Silent):
    """What a watch is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def phase(self, text: str) -> None:
        self.told.append(text)

    def nodes_expected(self, total: int) -> None:
        self.told.append(f"{total} nodes")

    def finished(self, node: str, *, failed: bool) -> None:
        self.told.append("failed" if failed else "done")


def collector(
    server: ApiDouble,
    tmp_path: Path,
    order: Order = AT_ONCE,
    *,
    watch: Journal | None = None,
    stop: threading.Event | None = None,
) -> Collector:
    connection = connect(server.kubeconfig(tmp_path / "kubeconfig"))
    return Collector(connection, order, watch=watch, stop=stop or threading.Event())


def stored(snapshot: Snapshot, tmp_path: Path) -> Snapshot:
    path = tmp_path / "stored.tar.gz"
    write_snapshot(snapshot, path)
    return read_snapshot(path)


def test_api_nodes_api(double: DoubleFactory, nodes: NodesFactory, tmp_path: Path) -> None:
    server, machines, watch = double(), nodes(), Journal()
    machines.on_run = lambda node, times: server.requests.append(f"node {node}")
    snapshot = collector(server, tmp_path, watch=watch).first()
    asked = [request for request in server.requests if request.startswith((SERVICES, "node "))]
    assert asked[0].startswith(SERVICES)
    assert asked[-1].startswith(SERVICES)
    assert sorted(asked[1:-1]) == [f"node {node}" for node in NODES]
    assert watch.told == [
        "reading the API",
        "waiting for the proxies to follow",
        "reading the nodes",
        "3 nodes",
        "done",
        "done",
        "done",
        "waiting for the API to follow",
        "reading the API again",
    ]
    assert snapshot.name == "recorded"
    assert snapshot.gaps == ()
    assert list(snapshot.nodes) == NODES
    assert set(snapshot.api_after) == {"services", "endpointslices-v1", "nodes", "pods"}
    recorded = cluster("v1.36.2-iptables-nft").nodes["node01"]["iptables-save"]
    assert snapshot.nodes["node01"]["iptables-save"].content == recorded.content
    assert [address.host for address in sorted(machines.addresses, key=lambda item: item.node)] == [
        "192.168.56.10",
        "192.168.56.11",
        "192.168.56.12",
    ]
    assert machines.closed == 1
    assert snapshot.manifest["settle_s"] == 0.0
    assert snapshot.manifest["nodes_left_out"] == []


def test_a_stored_snapshot_says_the_same(double: DoubleFactory, nodes: NodesFactory, tmp_path: Path) -> None:
    server, machines = double(), nodes()
    machines.failures["node02"] = NodeFailure(FailureKind.REFUSED, "\x1b[2J token: abcdefghijkl is refused")
    log = machines.nodes["node01"]["kube-proxy"]
    machines.nodes["node01"]["kube-proxy"] = log.replaced(content=b"password: hunter2hunter2\n")
    gathered = collector(server, tmp_path).first()
    found = stored(gathered, tmp_path)
    for field in ("name", "taken_at", "api", "api_after", "nodes", "again", "gaps"):
        assert getattr(found, field) == getattr(gathered, field), field
    (gap,) = gathered.gaps
    assert gap.node == "node02"
    assert gap.reason == "\N{REPLACEMENT CHARACTER}[2J token: REDACTED is refused"
    assert gathered.nodes["node01"]["kube-proxy"].content == b"password: REDACTED\n"


class TestNodes:
    def test_only_some(self, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path) -> None:
        machines = nodes()
        order = dataclasses.replace(AT_ONCE, nodes=("node02",))
        snapshot = collector(double(), tmp_path, order).first()
        assert list(snapshot.nodes) == ["node02"]
        assert set(machines.runs) == {"node02"}
        assert snapshot.manifest["nodes_left_out"] == ["controlplane", "node01"]

    def test_none(self, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path) -> None:
        machines = nodes()
        snapshot = collector(double(), tmp_path, dataclasses.replace(AT_ONCE, without_nodes=True)).first()
        assert snapshot.nodes == {}
        assert snapshot.gaps == ()
        assert not machines.runs
        assert snapshot.api_after
        assert snapshot.manifest["nodes_asked"] is False

    def test_unknown(self, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path) -> None:
        nodes()
        with pytest.raises(TargetError, match="there is no node node2"):
            collector(double(), tmp_path, dataclasses.replace(AT_ONCE, nodes=("node2",))).first()

    def test_those_that_nobody_can_log_in_to(self, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path) -> None:
        server, machines = double(), nodes()
        server.items("/api/v1/nodes")[2]["status"]["nodeInfo"]["operatingSystem"] = "windows"
        (gap,) = collector(server, tmp_path).first().gaps
        assert (gap.node, gap.kind) == ("node02", GapKind.NOT_APPLICABLE)
        assert "node02" not in machines.runs

    def test_inventory(self, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path) -> None:
        machines = nodes()
        (tmp_path / "inventory.yaml").write_text("node01: admin@192.0.2.1:2222\nelsewhere: 192.0.2.9\n")
        collector(double(), tmp_path, dataclasses.replace(AT_ONCE, inventory=tmp_path / "inventory.yaml")).first()
        hosts = {address.node: (address.user, address.host, address.port_number) for address in machines.addresses}
        assert hosts["node01"] == ("admin", "192.0.2.1", 2222)
        assert hosts["node02"] == (None, "192.168.56.12", None)
        assert "elsewhere" not in hosts

    def test_inventory_where_nodes_may_not_be_listed(
        self, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path
    ) -> None:
        server = double()
        server.trouble.bodies["/api/v1/nodes"] = (403, b'{"kind": "Status", "code": 403, "reason": "Forbidden"}')
        nodes()
        (tmp_path / "inventory.yaml").write_text("node01: 192.0.2.1\nnode02: 192.0.2.2\n")
        order = dataclasses.replace(AT_ONCE, inventory=tmp_path / "inventory.yaml", nodes=("node01",))
        snapshot = collector(server, tmp_path, order).first()
        assert list(snapshot.nodes) == ["node01"]

    def test_a_missing_inventory_is_an_error_before_anything_is_asked(
        self, double: DoubleFactory, tmp_path: Path
    ) -> None:
        server = double()
        with pytest.raises(UsageError, match="cannot read the inventory"):
            collector(server, tmp_path, dataclasses.replace(AT_ONCE, inventory=tmp_path / "missing"))
        assert server.requests == []


class TestSavedOutput:
    def save(self, tmp_path: Path, node: str) -> Path:
        path = tmp_path / f"{node}.out"
        path.write_bytes(b"Welcome!\n" + framed(cluster("v1.36.2-iptables-nft").nodes[node], "ab" * 16))
        return path

    def test_is_taken_instead_of_asking(self, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path) -> None:
        machines = nodes()
        order = dataclasses.replace(AT_ONCE, from_files={"node01": self.save(tmp_path, "node01")})
        snapshot = collector(double(), tmp_path, order).first()
        assert list(snapshot.nodes) == NODES
        assert set(machines.runs) == {"controlplane", "node02"}
        assert snapshot.nodes["node01"]["iptables-save"].source == "nodes/node01/iptables-save.txt"

    def test_alone(self, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path) -> None:
        machines = nodes()
        order = dataclasses.replace(AT_ONCE, from_files={"node01": self.save(tmp_path, "node01")}, without_nodes=True)
        snapshot = collector(double(), tmp_path, order).first()
        assert list(snapshot.nodes) == ["node01"]
        assert not machines.runs
        assert snapshot.manifest["nodes_left_out"] == ["controlplane", "node02"]

    def test_damaged(self, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path) -> None:
        nodes()
        (tmp_path / "out").write_bytes(b"sh: not found\n")
        snapshot = collector(
            double(), tmp_path, dataclasses.replace(AT_ONCE, from_files={"node01": tmp_path / "out"})
        ).first()
        assert "node01" not in snapshot.nodes
        (gap,) = snapshot.gaps
        assert gap.node == "node01"
        assert "sh: not found" in gap.reason

    def test_missing_too_large_or_of_no_node(
        self, double: DoubleFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server = double()
        with pytest.raises(UsageError, match="No such file"):
            collector(server, tmp_path, dataclasses.replace(AT_ONCE, from_files={"node01": tmp_path / "missing"}))
        path = self.save(tmp_path, "node01")
        with pytest.raises(TargetError, match="there is no node node1"):
            collector(server, tmp_path, dataclasses.replace(AT_ONCE, from_files={"node1": path})).first()
        monkeypatch.setattr(collect, "MAX_BYTES", 10)
        with pytest.raises(UsageError, match="it has more than"):
            collector(server, tmp_path, dataclasses.replace(AT_ONCE, from_files={"node01": path}))


class TestPauses:
    def between(self, server: ApiDouble, tmp_path: Path, order: Order) -> tuple[Snapshot, float]:
        started = time.monotonic()
        snapshot = collector(server, tmp_path, order).first()
        return snapshot, time.monotonic() - started

    def test_one_on_either_side_no_longer_than_settle(
        self, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path
    ) -> None:
        nodes()
        snapshot, took_s = self.between(double(), tmp_path, Order(settle_s=0.3))
        assert snapshot.manifest["settle_s"] == 0.3
        assert took_s >= 0.6

    def test_the_usual_lag(
        self, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(collect, "NORMAL_LAG_S", 0.1)
        monkeypatch.setattr(collect, "_AFTER_SYNC_S", 0.05)
        nodes()
        assert self.between(double(), tmp_path, Order())[0].manifest["settle_s"] == 0.1

    def test_longer_where_proxies_wait_longer_between_changes(
        self, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(collect, "NORMAL_LAG_S", 0.1)
        monkeypatch.setattr(collect, "_AFTER_SYNC_S", 0.05)
        nodes()
        server = double()
        for item in server.items("/api/v1/namespaces/kube-system/configmaps"):
            if item["metadata"]["name"] == "kube-proxy":
                text = item["data"]["config.conf"]
                item["data"]["config.conf"] = text.replace("minSyncPeriod: 0s", "minSyncPeriod: 200ms")
                assert item["data"]["config.conf"] != text
        assert self.between(server, tmp_path, Order())[0].manifest["settle_s"] == pytest.approx(0.25)


class TestClock:
    @pytest.mark.parametrize("ahead_s", [0.0, 3600.0, -3600.0])
    def test_time_is_that_of_the_api_server(
        self, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path, ahead_s: float
    ) -> None:
        nodes()
        server = double()
        server.clock_ahead_s = ahead_s
        taken_at = collector(server, tmp_path).first().taken_at
        assert taken_at is not None
        assert abs(taken_at - datetime.now(UTC) - timedelta(seconds=ahead_s)) < timedelta(seconds=5)


class TestInterrupted:
    def test_in_the_pause(
        self, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        machines = nodes()
        work = collector(double(), tmp_path, Order(settle_s=60.0))
        monkeypatch.setattr(work._stop, "wait", _interrupts_once(work._stop.wait))
        snapshot = work.first()
        assert not machines.runs
        assert {gap.node for gap in snapshot.gaps} == set(NODES)
        assert all("interrupted" in gap.reason for gap in snapshot.gaps)
        assert snapshot.api_after

    def test_while_nodes_are_read(self, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path) -> None:
        machines, stop = nodes(), threading.Event()
        machines.on_run = lambda node, times: stop.set() if node == "node01" else None
        snapshot = collector(double(), tmp_path, Order(settle_s=0.0, parallel=1), stop=stop).first()
        assert list(snapshot.nodes) == ["controlplane"]
        assert {gap.node for gap in snapshot.gaps} == {"node01", "node02"}
        assert snapshot.api_after

    def test_while_the_api_is_read_again(
        self, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        nodes()
        times = []

        def interrupted(*arguments: Any) -> Any:
            times.append(1)
            if len(times) == 1:
                raise KeyboardInterrupt
            return read_moving(*arguments)

        monkeypatch.setattr(collect, "read_moving", interrupted)
        assert set(collector(double(), tmp_path).first().api_after) >= {"services", "pods"}

        def always(*arguments: Any) -> Any:
            raise KeyboardInterrupt

        monkeypatch.setattr(collect, "read_moving", always)
        with pytest.raises(KeyboardInterrupt):
            collector(double(), tmp_path).first()


class TestAgain:
    def test_one_more_round(self, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path) -> None:
        server, machines = double(), nodes()
        work = collector(server, tmp_path)
        first = work.first()
        server.items(SERVICES).pop()
        second = work.again(first, ["node01"])
        assert machines.runs == {"controlplane": 1, "node01": 2, "node02": 1}
        (later,) = second.again
        assert list(later.nodes) == ["node01"]
        assert later.nodes["node01"]["iptables-save"].source == "nodes-again-1/node01/iptables-save.txt"
        assert later.api_after["services"].source == "cluster-again-1/services.json"
        assert len(json.loads(later.api_after["services"].content)["items"]) == len(server.items(SERVICES))
        third = work.again(second, ["node01", "node02"])
        assert list(third.again[1].nodes) == ["node01", "node02"]
        assert third.again[1].api_after["services"].source == "cluster-again-2/services.json"
        found = stored(third, tmp_path)
        assert found.again == third.again
        assert found.nodes == third.nodes

    def test_a_node_that_fails_the_second_time(
        self, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path
    ) -> None:
        machines = nodes()
        work = collector(double(), tmp_path)
        first = work.first()
        machines.failures["node01"] = NodeFailure(FailureKind.REFUSED, "connection refused")
        second = work.again(first, ["node01"])
        assert second.again[0].nodes == {}
        assert [(gap.node, gap.reason) for gap in second.gaps] == [
            ("node01", "when it was read again: connection refused")
        ]

    def test_saved_output_cannot_be_read_again(
        self, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path
    ) -> None:
        nodes()
        path = tmp_path / "out"
        path.write_bytes(framed(cluster("v1.36.2-iptables-nft").nodes["node01"], "ab" * 16))
        work = collector(double(), tmp_path, dataclasses.replace(AT_ONCE, from_files={"node01": path}))
        first = work.first()
        assert work.again(first, ["node01"]) is first

    def test_interrupted(self, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path) -> None:
        nodes()
        stop = threading.Event()
        work = collector(double(), tmp_path, stop=stop)
        first = work.first()
        stop.set()
        assert work.again(first, ["node01"]) is first


def _interrupts_once(wait: Callable[[float], bool]) -> Callable[[float], bool]:
    times: list[float] = []

    def waiting(seconds: float) -> bool:
        times.append(seconds)
        if len(times) == 1:
            raise KeyboardInterrupt
        return wait(seconds)

    return waiting
