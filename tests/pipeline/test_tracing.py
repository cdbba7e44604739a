"""What `kdiag trace` answers on recordings, healthy and not."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import pytest
from msgspec import structs

from kdiag.errors import TargetError
from kdiag.model.trace import Trace
from kdiag.model.view import View
from kdiag.parse.target import parse_trace_target
from kdiag.pipeline.flow import Scope, trace
from kdiag.pipeline.tracing import follow
from kdiag.pipeline.viewing import build_view
from tests.corpus_fixtures import cluster, fault, variant, variant_api

BASE = "v1.36.2-iptables-nft"


@cache
def view(name: str = BASE, *, broken: bool = False) -> View:
    return build_view(fault(name) if broken else cluster(name), every_port=True)[0]


def asked(
    text: str, *, over: View | None = None, client: str | None = None, node: str | None = None, port: str | None = None
) -> Trace:
    target = parse_trace_target(text, any_namespace=True, client=client, node=node, service_port=port)
    return follow(over or view(), target)


def verdicts(found: Trace) -> list[tuple[str, str, str, bool | None]]:
    return [(item.node, str(item.frontend.position), item.frontend.label, item.ok) for item in found.verdicts]


# -- targets -----------------------------------------------------------------------------------------------------------


def test_a_service_from_everywhere() -> None:
    found = asked("svc/local-cluster")
    assert found.title == "Service default/local-cluster"
    assert verdicts(found) == [
        (node, position, "10.101.67.139:80/TCP", True)
        for node in ("controlplane", "node01", "node02")
        for position in ("pod", "node", "external")
    ]
    assert [(item.address, item.pod, item.node, item.state) for item in found.endpoints] == [
        ("10.244.1.3:80", "default/nginx", "node01", "ready")
    ]
    assert found.notes == ()
    assert not found.broken


def test_the_walk_shows_every_rule_on_the_way() -> None:
    found = asked("svc/local-cluster", client="pod/nginx")
    assert verdicts(found) == [("node01", "pod", "10.101.67.139:80/TCP", True)]
    assert found.walk is not None
    (branch,) = found.walk.branches
    assert [step.action for step in branch.steps] == [
        "jump KUBE-SERVICES",
        "jump KUBE-SVC-NVB4OINXP3DZTSXQ",
        "jump KUBE-SEP-JNE6DYGPUE67GEDY",
        "jump KUBE-MARK-MASQ",
        "mark set-xmark 0x4000/0x4000",
        "DNAT to 10.244.1.3:80",
        "jump KUBE-PROXY-FIREWALL",
        "jump KUBE-FORWARD",
        "ACCEPT",
        "jump KUBE-POSTROUTING",
        "mark set-xmark 0x4000/0x0",
        "MASQUERADE",
    ]
    assert (branch.legal, branch.unclear, branch.share) == (True, False, 1.0)
    assert branch.endpoint == "pod default/nginx on node01, ready"
    assert branch.source_address == "10.244.1.1"
    assert found.walk.missing == ()


def test_shares_and_sources_of_several_endpoints() -> None:
    found = asked("svc/three-eps", node="node01")
    assert found.walk is not None
    assert [round(branch.share, 4) for branch in found.walk.branches] == [0.3333] * 3
    assert {branch.source_address for branch in found.walk.branches} == {"the client's own"}


def test_an_address_with_an_owner_and_one_without() -> None:
    owned = asked("10.101.67.139:80/TCP", node="node01")
    assert (owned.title, str(owned.service_port)) == ("10.101.67.139:80/TCP", "default/local-cluster")
    stranger = asked("198.51.100.9:80", node="node01")
    assert stranger.service_port is None
    assert False not in {item.ok for item in stranger.verdicts}


def test_a_node_port_by_node_name() -> None:
    found = asked("node01:30019")
    assert (found.title, str(found.service_port)) == ("node port 30019/TCP on node01", "default/np-local")
    assert {item.node for item in found.verdicts} >= {"node01"}
    with pytest.raises(TargetError, match="no Service has node port 30999/TCP"):
        asked("node01:30999")


def test_of_a_services_node_ports_those_at_the_nodes_main_addresses_are_shown() -> None:
    labels = {item.frontend.label for item in asked("svc/np-local").verdicts if item.frontend.kind == "NodePort"}
    assert labels == {f"192.168.56.{last}:30019/TCP" for last in (10, 11, 12)}


def test_a_service_with_several_ports() -> None:
    found = asked("svc/multi-port", node="node01")
    (note,) = found.notes
    assert "default/multi-port:http" in note
    assert "--port NAME traces one of them" in note
    one = asked("svc/multi-port", node="node01", port="metrics")
    assert (str(one.service_port), one.notes) == ("default/multi-port:metrics", ())
    assert str(asked("svc/multi-port", node="node01", port="9100").service_port) == "default/multi-port:metrics"


@pytest.mark.parametrize(
    ("text", "port", "message", "hint"),
    [
        ("svc/multi-port", "nothing", "has no port nothing", "its ports are: http, metrics, alt"),
        ("svc/local-cluster", "81", "has no port 81", "its ports are: 80"),
        ("svc/headless", None, "has no address of its own (headless)", "there are no rules to follow"),
        ("svc/external-name", None, "has no port None", "its ports are: none"),
        ("svc/nothing-like-it", None, "there is no Service", ""),
    ],
)
def test_targets_that_cannot_be_traced(text: str, port: str | None, message: str, hint: str) -> None:
    with pytest.raises(TargetError) as caught:
        asked(text, port=port)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


def test_a_pending_service_has_no_address_yet() -> None:
    def pending(listed: dict[str, Any]) -> None:
        for item in listed["items"]:
            if item["metadata"]["name"] == "local-cluster":
                item["spec"] |= {"clusterIP": "", "clusterIPs": []}

    state = build_view(variant_api(cluster(BASE), "services", pending), nodes=("node01",), every_port=True)[0]
    with pytest.raises(TargetError, match=r"no address of its own \(ClusterIP\)"):
        asked("svc/local-cluster", over=state)


# -- clients -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "node", "expected"),
    [
        ("pod/nginx", None, {("node01", "pod")}),
        ("pod/nginx", "node02", {("node02", "external")}),
        ("pod/nginx", "node01", {("node01", "pod")}),
        # A pod of the host network sends as the node.
        ("pod/exporter-node01", None, {("node01", "node")}),
        ("pod/exporter-node01", "node02", {("node01", "node")}),
        ("node/node02", None, {("node02", "node")}),
        ("external", None, {("controlplane", "external"), ("node01", "external"), ("node02", "external")}),
        ("external", "node01", {("node01", "external")}),
        (None, "node01", {("node01", "pod"), ("node01", "node"), ("node01", "external")}),
    ],
)
def test_clients(client: str | None, node: str | None, expected: set[tuple[str, str]]) -> None:
    found = asked("svc/local-cluster", client=client, node=node)
    assert {(item.node, str(item.frontend.position)) for item in found.verdicts} == expected


def test_a_pod_that_runs_nowhere_is_no_client() -> None:
    def unbind(listed: dict[str, Any]) -> None:
        for item in listed["items"]:
            if item["metadata"]["name"] == "pending-noip":
                item["spec"].pop("nodeName")

    state = build_view(variant_api(cluster(BASE), "pods", unbind), nodes=("node01",), every_port=True)[0]
    with pytest.raises(TargetError, match="runs on no node yet"):
        asked("svc/local-cluster", client="pod/pending-noip", over=state)


def test_a_node_that_was_not_read() -> None:
    state = build_view(cluster(BASE), nodes=("node01",), every_port=True)[0]
    found = asked("svc/local-cluster", client="node/node02", over=state)
    assert verdicts(found) == []
    assert found.walk is None
    assert found.notes == ("the rules of node02 were not read: what happens there is not known",)
    nothing = build_view(cluster(BASE), without_nodes=True)[0]
    assert asked("svc/local-cluster", over=nothing).notes == ("no node was read that serves this target",)


# -- faults ------------------------------------------------------------------------------------------------------------


def test_a_broken_node_is_shown_first() -> None:
    found = asked("svc/local-cluster", over=view("s-wrong-port", broken=True))
    assert found.broken
    assert {item.node for item in found.verdicts if item.ok is False} == {"node01"}
    assert found.walk is not None
    assert found.walk.node == "node01"
    assert all(branch.legal is False for branch in found.walk.branches)
    assert any("is not reached" in text for text in found.walk.missing)


def test_a_rule_for_one_client_names_it() -> None:
    snapshot = variant(
        cluster(BASE),
        node="node01",
        probe="iptables-save",
        edit=lambda text: text.replace(
            "-A FORWARD -m conntrack", "-A FORWARD -s 10.244.1.77/32 -j DROP\n-A FORWARD -m conntrack", 1
        ),
    )
    found = asked("svc/local-cluster", node="node01", over=build_view(snapshot, nodes=("node01",), every_port=True)[0])
    (bad,) = [item for item in found.verdicts if item.ok is False]
    assert bad.actual == "dropped (pods with the address 10.244.1.77)"
    assert found.walk is not None
    assert [branch.clients.addresses.describe() for branch in found.walk.branches] == ["10.244.1.77"]


def test_an_address_that_only_rules_know() -> None:
    snapshot = variant_api(
        cluster(BASE),
        "services",
        lambda listed: listed.update(
            items=[item for item in listed["items"] if item["metadata"]["name"] != "local-cluster"]
        ),
    )
    found = asked("10.101.67.139:80", over=build_view(snapshot, nodes=("node01",), every_port=True)[0])
    assert {(item.ok, item.expected, item.actual) for item in found.verdicts} == {
        (False, "no Service has this address", "DNAT to 10.244.1.3:80")
    }
    assert found.walk is not None
    assert found.walk.expected == "no Service has this address"


def test_what_cannot_be_told_is_neither_yes_nor_no() -> None:
    snapshot = variant(
        cluster(BASE),
        node="node01",
        probe="iptables-save",
        edit=lambda text: text.replace(
            "-A FORWARD -m conntrack", "-A FORWARD -m set --match-set x src -j DROP\n-A FORWARD -m conntrack", 1
        ),
    )
    found = asked("svc/local-cluster", node="node01", over=build_view(snapshot, nodes=("node01",), every_port=True)[0])
    assert {(str(item.frontend.position), item.ok) for item in found.verdicts} == {
        ("pod", None),
        ("external", None),
        ("node", True),
    }
    assert found.walk is not None
    assert {branch.unclear for branch in found.walk.branches} == {True}
    assert {branch.legal for branch in found.walk.branches} == {None}


def test_without_the_filter_table_a_refused_service_is_not_called_broken() -> None:
    snapshot = cluster("v1.20.2-iptables-nft")
    probes = {name: item for name, item in snapshot.nodes["node01"].items() if name != "iptables-save"}
    state = build_view(structs.replace(snapshot, nodes={"node01": probes}), nodes=("node01",), every_port=True)[0]
    found = asked("svc/no-eps", over=state, node="node01")
    assert {item.ok for item in found.verdicts} == {True}


def test_contradictory_slices_leave_a_service_open() -> None:
    def contradict(listed: dict[str, Any]) -> None:
        (one,) = [
            item
            for item in listed["items"]
            if item["metadata"]["labels"].get("kubernetes.io/service-name") == "three-eps"
        ]
        one["endpoints"] = [
            {"addresses": [f"10.244.1.{last}"], "conditions": {"ready": True}} for last in range(100, 110)
        ]
        other = copy.deepcopy(one)
        other["metadata"]["name"] = "three-eps-other"
        for item in other["endpoints"]:
            item["conditions"]["ready"] = False
        listed["items"].append(other)

    state, gaps = build_view(
        variant_api(cluster(BASE), "endpointslices-v1", contradict), nodes=("node01",), every_port=True
    )
    assert [(gap.subject, gap.reason) for gap in gaps if gap.subject.startswith("cannot tell")] == [
        ("cannot tell: default/three-eps", "its EndpointSlices contradict each other about too many endpoints")
    ]
    comparison = state.node_by_name["node01"].comparison
    assert comparison is not None
    assert comparison.groups == ()
    found = asked("svc/three-eps", over=state, node="node01")
    assert all("contradict" in item.expected for item in found.verdicts)


def test_gaps_of_nodes_that_were_not_judged_are_notes() -> None:
    snapshot = cluster(BASE)
    partial = structs.replace(snapshot, nodes={"node01": snapshot.nodes["node01"]})
    found = trace(partial, parse_trace_target("svc/local-cluster", any_namespace=True), Scope())
    assert [note for note in found.notes if note.startswith("node02: ")] == [
        "node02: rules: nothing was recorded from this node"
    ]


def test_who_owns_a_backend() -> None:
    def owner(text: str) -> set[str]:
        walk = asked(text, node="node01").walk
        assert walk is not None
        return {branch.endpoint for branch in walk.branches}

    assert owner("svc/kubernetes") == {"host network of controlplane"}
    assert owner("svc/manual-eps") == {"no pod: an endpoint that was entered by hand"}
    assert owner("svc/term-all") == {
        "pod default/termall-1 on node01, terminating",
        "pod default/termall-2 on node02, terminating",
    }
    assert "pod default/notready-1 on node01, not ready" in owner("svc/publish-not-ready")


def test_states_of_endpoints() -> None:
    def states(name: str) -> set[str]:
        return {item.state for item in asked(f"svc/{name}", node="node01").endpoints}

    assert states("term-all") == {"serving, terminating"}
    assert states("not-ready") == {"not ready"}
    assert states("three-eps") == {"ready"}
