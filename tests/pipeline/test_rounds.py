"""Nodes that were read several times: later readings settle what the first could not, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from msgspec import structs

from kdiag.model.difference import CauseKind
from kdiag.model.report import Gap, GapKind
from kdiag.model.snapshot import Recording, Round, Snapshot
from kdiag.model.view import NodeView
from kdiag.pipeline.live import unsettled_nodes
from kdiag.pipeline.rounds import join_rounds, later_rounds, unsettled_ports
from kdiag.pipeline.viewing import build_view
from tests.corpus_fixtures import cluster

BASE = "v1.36.2-iptables-nft"
SERVICE = "default/local-cluster"
ENDPOINT = "10.244.1.3"
NODE = "node01"
KINDS = ("services", "endpointslices-v1", "nodes", "pods")


def base_cluster() -> Snapshot:
    """A healthy cluster of which one node was recorded."""
    whole = cluster(BASE)
    return structs.replace(whole, nodes={NODE: whole.nodes[NODE]})


def edited(recording: Recording, edit: Callable[[list[dict[str, Any]]], None]) -> Recording:
    listed = json.loads(recording.content)
    edit(listed["items"])
    return recording.replaced(content=json.dumps(listed).encode())


def without_endpoint(items: list[dict[str, Any]]) -> None:
    """The endpoint of local-cluster goes away."""
    for item in items:
        if item["metadata"]["name"].startswith("local-cluster-"):
            item["endpoints"] = []


def after(snapshot: Snapshot, edit: Callable[[list[dict[str, Any]]], None] | None = None) -> dict[str, Recording]:
    """The API as it was read again, with the slices edited."""
    found = {kind: snapshot.api[kind] for kind in KINDS}
    if edit is not None:
        found["endpointslices-v1"] = edited(found["endpointslices-v1"], edit)
    return found


def without_rule(snapshot: Snapshot, node: str) -> dict[str, Recording]:
    """The node's probes, with the DNAT rule to the endpoint taken out: the node lags behind or is broken."""
    probes = dict(snapshot.nodes[node])
    recording = probes["iptables-save"]
    lines = [line for line in recording.text().split("\n") if not is_endpoint_rule(line)]
    assert len(lines) < len(recording.text().split("\n"))
    probes["iptables-save"] = recording.replaced(content="\n".join(lines).encode())
    return probes


def is_endpoint_rule(line: str) -> bool:
    """True for the rule that sends local-cluster's traffic to its endpoint; another Service has the same endpoint."""
    return SERVICE in line and f"--to-destination {ENDPOINT}:80" in line


def moving(**changes: Any) -> Snapshot:
    """The endpoint went away while the nodes were read; the nodes still have it."""
    base = base_cluster()
    return structs.replace(base, api_after=after(base, without_endpoint), **changes)


def view_of(snapshot: Snapshot, node: str = NODE) -> tuple[NodeView, tuple[Gap, ...]]:
    view, gaps = build_view(snapshot)
    return view.node_by_name[node], tuple(gap for gap in gaps if gap.node == node)


def services_at_fault(node: NodeView) -> set[str]:
    assert node.comparison is not None
    return {
        str(item.service_port.service)
        for found in node.comparison.groups
        for item in found.differences
        if item.service_port is not None
    }


def unsettled_of(node: NodeView) -> set[str]:
    assert node.comparison is not None
    return {str(item.service) for item in unsettled_ports(node.comparison)}


def test_unsettled_without_another_round() -> None:
    node, gaps = view_of(moving())
    assert unsettled_of(node) == {SERVICE}
    assert services_at_fault(node) == set()
    assert any(gap.subject == f"not settled: {SERVICE}" and gap.kind is GapKind.FAILED for gap in gaps)
    assert unsettled_nodes(moving(), 0.0) == (NODE,)


def test_settled_well() -> None:
    base = base_cluster()
    # The endpoint came back before node01 was read again.
    rounds = (Round(api_after=after(base)), Round(nodes={NODE: base.nodes[NODE]}, api_after=after(base)))
    node, gaps = view_of(moving(again=rounds))
    assert unsettled_of(node) == set()
    assert services_at_fault(node) == set()
    assert not any("not settled" in gap.subject for gap in gaps)
    assert unsettled_nodes(moving(again=rounds), 0.0) == ()


def test_settled_badly() -> None:
    base = base_cluster()
    rounds = (
        Round(api_after=after(base)),
        Round(nodes={NODE: without_rule(base, NODE)}, api_after=after(base)),
    )
    node, gaps = view_of(moving(again=rounds))
    assert unsettled_of(node) == set()
    assert services_at_fault(node) == {SERVICE}
    assert node.comparison is not None
    (found,) = node.comparison.groups
    assert found.cause in (CauseKind.MISSING_ENDPOINT, CauseKind.BROKEN_CHAIN, CauseKind.REFUSED)
    assert not any("not settled" in gap.subject for gap in gaps)


def test_never_settled() -> None:
    base = base_cluster()
    # The endpoint comes and goes, and the node is always one change behind.
    rounds = (
        Round(nodes={NODE: without_rule(base, NODE)}, api_after=after(base)),
        Round(nodes={NODE: base.nodes[NODE]}, api_after=after(base, without_endpoint)),
    )
    node, gaps = view_of(moving(again=rounds))
    assert unsettled_of(node) == {SERVICE}
    assert services_at_fault(node) == set()
    assert [gap.subject for gap in gaps if "settled" in gap.subject] == [f"not settled: {SERVICE}"]


def test_other_services_are_judged_by_the_first_reading_alone() -> None:
    base = base_cluster()
    probes = dict(base.nodes[NODE])
    recording = probes["iptables-save"]
    flushed = "\n".join(line for line in recording.text().split("\n") if not line.startswith("-A KUBE-SVC-"))
    probes["iptables-save"] = recording.replaced(content=flushed.encode())
    rounds = (Round(api_after=after(base)), Round(nodes={NODE: probes}, api_after=after(base)))
    node, _ = view_of(moving(again=rounds))
    assert services_at_fault(node) <= {SERVICE}


def test_nodes_that_were_settled_are_not_looked_at_again() -> None:
    base = base_cluster()
    rounds = (Round(api_after=after(base)), Round(nodes={NODE: without_rule(base, NODE)}, api_after=after(base)))
    node, _ = view_of(structs.replace(base, api_after=after(base), again=rounds))
    assert services_at_fault(node) == set()


def test_a_round_whose_api_reading_failed_settles_nothing() -> None:
    base = base_cluster()
    failed = {**after(base), "services": Recording(source="cluster-again-1/services.json", content=b"", stderr="gone")}
    later = Round(nodes={NODE: without_rule(base, NODE)}, api_after=failed)
    node, _ = view_of(moving(again=(later,)))
    assert unsettled_of(node) == {SERVICE}


def test_what_is_young_in_a_later_round_stays_unsettled() -> None:
    base = base_cluster()

    def created_now(items: list[dict[str, Any]]) -> None:
        for item in items:
            if item["metadata"]["name"].startswith("local-cluster-"):
                item["metadata"]["creationTimestamp"] = "2030-01-01T00:00:00Z"
                item["metadata"].pop("annotations", None)

    moment = base.taken_at
    assert moment is not None
    young = moment.replace(year=2030, month=1, day=1, hour=0, minute=0, second=5)
    rounds = (
        Round(api_after=after(base, created_now)),
        Round(taken_at=young, nodes={NODE: without_rule(base, NODE)}, api_after=after(base, created_now)),
    )
    assert unsettled_of(view_of(moving(again=rounds))[0]) == {SERVICE}
    old = structs.replace(rounds[1], taken_at=young + timedelta(minutes=5))
    assert unsettled_of(view_of(moving(again=(rounds[0], old)))[0]) == set()


def test_nothing_to_join() -> None:
    node, _ = view_of(moving())
    assert node.comparison is not None
    assert join_rounds(node.comparison, [], ()) is node.comparison
    healthy, _ = view_of(base_cluster())
    assert healthy.comparison is not None
    assert join_rounds(healthy.comparison, [node.comparison], ()) is healthy.comparison
    assert later_rounds(base_cluster(), 0.0) == ((), ())


def test_quiet_clusters_need_no_other_round() -> None:
    base = base_cluster()
    assert unsettled_nodes(structs.replace(base, api_after=after(base)), 0.0) == ()
    assert unsettled_nodes(structs.replace(moving(), nodes={}), 0.0) == ()
