"""A live cluster from end to end, with an API server and nodes that answer as recorded."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from kdiag.gather import collect
from kdiag.gather.collect import Collector, Order
from kdiag.gather.transports import FailureKind, NodeFailure
from kdiag.model.report import GapKind
from kdiag.model.snapshot import Snapshot
from kdiag.pipeline import Scope, diagnose, live
from kdiag.pipeline.live import gather_live
from tests.cli.conftest import Kdiag
from tests.live.api_double import TOKEN
from tests.live.fixtures import ApiServer, DoubleFactory, NodesFactory
from tests.live.node_double import NodeDouble

SLICES = "/apis/discovery.k8s.io/v1/endpointslices"
COMMANDS = (
    ("preflight",),
    ("preflight", "default/local-cluster", "-o", "json"),
    ("check-cidrs",),
    ("flags",),
    ("trace", "svc/local-cluster"),
)


def cluster_options(server: ApiServer, tmp_path: Path) -> list[str]:
    return ["--kubeconfig", str(server.kubeconfig(tmp_path / "kubeconfig")), "--settle", "0"]


def timeless(text: str) -> str:
    return re.sub(r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d( UTC|Z|\+00:00)", "TIME", text)


def remove_endpoint(server: ApiServer) -> None:
    with server.edited(SLICES) as items:
        for item in items:
            if item["metadata"]["name"].startswith("local-cluster-"):
                item["endpoints"] = []


def break_rules(machines: NodeDouble, node: str) -> None:
    recording = machines.nodes[node]["iptables-save"]
    wrong = re.sub(
        rb"(?m)^(.*default/local-cluster.*--to-destination) 10\.244\.1\.3:80$", rb"\1 10.244.9.9:80", recording.content
    )
    assert wrong != recording.content
    machines.nodes[node]["iptables-save"] = recording.replaced(content=wrong)


def test_live_and_stored_give_the_same_answer(
    kdiag: Kdiag, server: ApiServer, nodes: NodesFactory, tmp_path: Path
) -> None:
    machines = nodes(server.base)
    break_rules(machines, "node02")
    machines.failures["controlplane"] = NodeFailure(FailureKind.UNREACHABLE, "no route to host", hint="look at it")
    options = cluster_options(server, tmp_path)
    stored = kdiag("collect", "-o", str(tmp_path / "stored.tar.gz"), *options)
    assert (stored.code, stored.err) == (3, "")
    for command in COMMANDS:
        answer = kdiag(*command, *options)
        from_file = kdiag(*command, "--snapshot", str(tmp_path / "stored.tar.gz"), "--settle", "0")
        assert timeless(answer.out) == timeless(from_file.out), command
        assert (answer.code, answer.err) == (from_file.code, ""), command
        assert answer.out, command


def test_one_node_down_is_one_gap_and_the_rest_is_judged(
    kdiag: Kdiag, server: ApiServer, nodes: NodesFactory, tmp_path: Path
) -> None:
    machines = nodes(server.base)
    machines.failures["node01"] = NodeFailure(FailureKind.REFUSED, "connection refused", hint="is sshd running?")
    outcome = kdiag("check-rules", "-o", "json", *cluster_options(server, tmp_path))
    document = json.loads(outcome.out)
    assert outcome.code == 3
    assert document["summary"]["nodes_judged"] == 2
    assert document["findings"] == []
    assert [(gap["node"], gap["reason"]) for gap in document["gaps"]] == [
        ("node01", "connection refused; is sshd running?")
    ]


def test_a_fault_is_found(kdiag: Kdiag, server: ApiServer, nodes: NodesFactory, tmp_path: Path) -> None:
    machines = nodes(server.base)
    break_rules(machines, "node02")
    outcome = kdiag("check-rules", *cluster_options(server, tmp_path))
    assert outcome.code == 1
    assert "10.244.9.9" in outcome.out


def test_healthy(kdiag: Kdiag, server: ApiServer, nodes: NodesFactory, tmp_path: Path) -> None:
    nodes(server.base)
    outcome = kdiag("check-rules", "--fail-on", "info", *cluster_options(server, tmp_path))
    assert (outcome.code, outcome.err) == (0, "")
    assert "judged 3 of 3 nodes" in outcome.out


def test_services_and_endpoints_need_no_nodes(
    kdiag: Kdiag, server: ApiServer, nodes: NodesFactory, tmp_path: Path
) -> None:
    machines = nodes(server.base)
    outcome = kdiag("check-endpoints", *cluster_options(server, tmp_path))
    assert (outcome.code, outcome.err) == (0, "")
    assert "KD301" in outcome.out
    assert not machines.runs


@pytest.mark.parametrize("command", [("preflight",), ("flags",)])
def test_no_nodes(
    kdiag: Kdiag, server: ApiServer, nodes: NodesFactory, tmp_path: Path, command: tuple[str, ...]
) -> None:
    machines = nodes(server.base)
    options = cluster_options(server, tmp_path)
    outcome = kdiag(*command, "--no-nodes", *options)
    assert outcome.code == 0
    assert not machines.runs
    stored = kdiag("collect", "--no-nodes", "-o", str(tmp_path / "stored"), *options)
    assert stored.code == 0
    from_file = kdiag(*command, "--no-nodes", "--snapshot", str(tmp_path / "stored"))
    assert timeless(outcome.out) == timeless(from_file.out)
    if command == ("preflight",):
        told = kdiag(*command, "--snapshot", str(tmp_path / "stored")).out
        assert "3 nodes were left out when the cluster was read" in told


def test_one_node_only(kdiag: Kdiag, server: ApiServer, nodes: NodesFactory, tmp_path: Path) -> None:
    machines = nodes(server.base)
    options = cluster_options(server, tmp_path)
    for command in (("check-rules",), ("trace", "svc/local-cluster")):
        assert kdiag(*command, "--node", "node01", *options).code == 0
    assert set(machines.runs) == {"node01"}
    kdiag("collect", "--node", "node01", "-o", str(tmp_path / "stored"), *options)
    document = json.loads(kdiag("check-rules", "-o", "json", "--snapshot", str(tmp_path / "stored")).out)
    assert {(gap["node"], gap["kind"]) for gap in document["gaps"]} == {
        ("controlplane", "not-asked"),
        ("node02", "not-asked"),
    }


class TestChangesMeanwhile:
    def test_nodes_concerned_are_read_again(self, server: ApiServer, nodes: NodesFactory, tmp_path: Path) -> None:
        """An endpoint goes away; node01 has not followed when it is read."""
        machines = nodes(server.base)
        follow(machines, "controlplane")
        follow(machines, "node02")

        def change(node: str, times: int) -> None:
            remove_endpoint(server)
            if times == 2:
                follow(machines, "node01")

        machines.on_run = change
        snapshot = self.gather(server, tmp_path)
        assert machines.runs == {"controlplane": 1, "node01": 2, "node02": 1}
        assert [list(item.nodes) for item in snapshot.again] == [["node01"]]
        report = diagnose(snapshot, Scope(select=("KD2",), settle_s=0.0))
        assert report.findings == ()
        assert report.gaps == ()

    def test_what_never_settles_is_said(self, server: ApiServer, nodes: NodesFactory, tmp_path: Path) -> None:
        machines = nodes(server.base)
        with server.edited(SLICES) as items:
            original = {item["metadata"]["name"]: item["endpoints"] for item in items}
        has_endpoint = dict(machines.nodes["node01"])
        follow(machines, "node01")
        has_none = dict(machines.nodes["node01"])

        def change(node: str, times: int) -> None:
            """The endpoint comes and goes, and the node is always one change behind."""
            machines.nodes["node01"] = has_endpoint if times % 2 else has_none
            if times % 2:
                remove_endpoint(server)
            else:
                with server.edited(SLICES) as items:
                    for item in items:
                        item["endpoints"] = original[item["metadata"]["name"]]

        machines.on_run = change
        snapshot = self.gather(server, tmp_path, nodes=("node01",))
        assert machines.runs == {"node01": 3}
        assert len(snapshot.again) == 2
        report = diagnose(snapshot, Scope(select=("KD2",), settle_s=0.0))
        assert [gap.subject for gap in report.gaps if gap.kind is GapKind.FAILED] == [
            "not settled: default/local-cluster"
        ]
        assert report.findings == ()

    def test_no_retries(self, server: ApiServer, nodes: NodesFactory, tmp_path: Path) -> None:
        machines = nodes(server.base)
        machines.on_run = lambda node, times: remove_endpoint(server)
        assert self.gather(server, tmp_path, retries=0).again == ()
        assert machines.runs["node01"] == 1

    def test_a_quiet_cluster_is_read_once(self, server: ApiServer, nodes: NodesFactory, tmp_path: Path) -> None:
        machines = nodes(server.base)
        assert self.gather(server, tmp_path).again == ()
        assert set(machines.runs.values()) == {1}

    def test_interrupted_while_it_is_judged(
        self, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*arguments: Any) -> Any:
            raise KeyboardInterrupt

        monkeypatch.setattr(live, "unsettled_nodes", interrupted)
        nodes()
        assert set(self.gather(double(), tmp_path).nodes) == {"controlplane", "node01", "node02"}

    def test_interrupted_twice(
        self, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(collector: Collector, snapshot: Snapshot, wanted: object) -> Snapshot:
            collector._stop.set()
            raise KeyboardInterrupt

        monkeypatch.setattr(Collector, "again", interrupted)
        server, machines = double(), nodes()
        machines.on_run = lambda node, times: remove_endpoint(server)
        with pytest.raises(KeyboardInterrupt):
            self.gather(server, tmp_path, nodes=("node01",))

    def test_interrupted_while_it_waits(
        self, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A real signal: what there is is returned."""
        server, machines = double(), nodes()
        machines.on_run = lambda node, times: remove_endpoint(server)
        monkeypatch.setattr(collect, "NORMAL_LAG_S", 0.0)
        monkeypatch.setattr(collect, "_AFTER_SYNC_S", 0.0)
        waiting = threading.Event()
        work = collect.Collector._pause

        def pause(collector: Collector, text: str, seconds: float | None = None) -> None:
            if seconds is not None:
                waiting.set()
            work(collector, text, seconds)

        monkeypatch.setattr(Collector, "_pause", pause)

        def interrupt() -> None:
            assert waiting.wait(60)
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        order = Order(settle_s=600.0, nodes=("node01",))
        snapshot = gather_live(order, kubeconfig=server.kubeconfig(tmp_path / "kubeconfig"))
        thread.join()
        assert snapshot.again == ()
        assert list(snapshot.nodes) == ["node01"]

    def gather(self, server: ApiServer, tmp_path: Path, *, nodes: tuple[str, ...] = (), retries: int = 2) -> Snapshot:
        order = Order(settle_s=0.0, nodes=nodes)
        return gather_live(order, kubeconfig=server.kubeconfig(tmp_path / "kubeconfig"), retries=retries)


def follow(machines: NodeDouble, node: str) -> None:
    """Gives the node the rules that it has once kube-proxy knows that the endpoint is gone."""
    recording = machines.nodes[node]["iptables-save"]
    machines.nodes[node]["iptables-save"] = recording.replaced(content=without_backend(recording.content))


def without_backend(dump: bytes) -> bytes:
    """Rules after kube-proxy saw that local-cluster has no endpoint any more."""
    text = dump.decode()
    chain = re.search(r"^-A KUBE-SERVICES .*default/local-cluster.* -j (KUBE-SVC-\S+)$", text, re.MULTILINE)
    assert chain is not None
    lines = [line for line in text.split("\n") if chain[1] not in line and "default/local-cluster" not in line]
    reject = (
        '-A KUBE-SERVICES -d 10.101.67.139/32 -p tcp -m comment --comment "default/local-cluster has no endpoints" '
        "-m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable"
    )
    start = lines.index("*filter")
    end = lines.index("COMMIT", start)
    return "\n".join([*lines[:end], reject, *lines[end:]]).encode()


def test_no_secret_is_ever_shown_or_stored(
    kdiag: Kdiag, double: DoubleFactory, nodes: NodesFactory, tmp_path: Path
) -> None:
    server, machines = double(), nodes()
    machines.failures["node01"] = NodeFailure(FailureKind.AUTHENTICATION, "no key was accepted")
    options = cluster_options(server, tmp_path)
    told = kdiag("collect", "-o", str(tmp_path / "stored"), "--debug", *options)
    files = [path.read_bytes() for path in (tmp_path / "stored").rglob("*") if path.is_file()]
    assert not any(TOKEN.encode() in content for content in files)
    assert TOKEN not in told.out + told.err
    server.tokens = {"another"}
    refused = kdiag("preflight", "--debug", *options)
    assert (refused.code, refused.out) == (2, "")
    assert "does not accept the credentials" in refused.err
    assert TOKEN not in refused.err


def test_the_api_is_gone(kdiag: Kdiag, tmp_path: Path, double: DoubleFactory) -> None:
    server = double()
    options = cluster_options(server, tmp_path)
    options[1] = str(server.kubeconfig(tmp_path / "wrong", server="https://127.0.0.1:1"))
    outcome = kdiag("preflight", *options)
    assert (outcome.code, outcome.out) == (2, "")
    lines = outcome.err.splitlines()
    assert lines[0] == "error: cannot connect to the API server https://127.0.0.1:1: Connection refused"
    assert lines[1].startswith("hint: ")
