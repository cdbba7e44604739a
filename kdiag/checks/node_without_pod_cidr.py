"""KD104: a node has no podCIDR although the CNI needs one."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from kdiag.checks.addressing import FAMILIES, judged_nodes, listed, uses_node_ranges
from kdiag.checks.evidence import from_api
from kdiag.checks.interface import Check
from kdiag.model.addresses import Family, family_of
from kdiag.model.cluster import Node
from kdiag.model.report import Affected, Finding, Severity
from kdiag.model.view import View

_GRACE = timedelta(minutes=2)
"""Time that the controller manager may take to give a new node its range."""


def run(view: View) -> Iterable[Finding]:
    """One finding per family that most nodes have a range of."""
    if not uses_node_ranges(view.cluster):
        return
    nodes = judged_nodes(view.cluster)
    for family in FAMILIES:
        lacking = [node for node in nodes if not _has_range(node, family)]
        if 2 * len(lacking) >= len(nodes):
            continue
        lacking = [node for node in lacking if not _is_new(view, node)]
        if lacking:
            yield _finding(view, family, lacking)


def _has_range(node: Node, family: Family) -> bool:
    return any(family_of(network) is family for network in node.pod_cidrs)


def _is_new(view: View, node: Node) -> bool:
    return (
        view.taken_at is not None
        and node.meta.created_at is not None
        and (view.taken_at - node.meta.created_at < _GRACE)
    )


def _finding(view: View, family: Family, lacking: list[Node]) -> Finding:
    names = [node.name for node in lacking]
    return CHECK.finding(
        node=names[0] if len(names) == 1 else None,
        expected=f"an {family} podCIDR, as the other nodes have",
        actual="none",
        message=(
            f"{listed(names)} {'has' if len(names) == 1 else 'have'} no {family} podCIDR, and the CNI takes pod addresses from it: "
            "pods there get no address of this family, and other nodes no route to them."
        ),
        affected=[Affected(node=name) for name in names],
        evidence=[
            item
            for name in names
            for item in from_api(view.cluster, "nodes", f"Node {name} has no {family} range in spec.podCIDRs")
        ],
    )


CHECK = Check(
    code="KD104",
    slug="node-without-pod-cidr",
    title="A node has no podCIDR",
    severity=Severity.ERROR,
    explanation="""\
The controller manager (or the cloud's) gives every node a range of pod addresses, `spec.podCIDRs`, if it runs with
`--allocate-node-cidrs`. It stops when the cluster's range is used up, and never starts for nodes it does not manage.

**What it does to traffic.** With a CNI that uses podCIDRs no pod on the node gets an address, and kube-proxy in NodeCIDR mode
waits for one before it programs anything.

**How it is found.** A node lacks a family that more than half of the nodes have a range of, and the CNI uses podCIDRs.

**What is left alone.** Calico, Cilium with its own pools and VPC-native CNIs, which do not look at podCIDRs; virtual and Windows
nodes; nodes younger than two minutes.
""",
    hint=(
        "Look for CIDRNotAvailable events and into the controller manager's log: its --cluster-cidr may be used up, or "
        "--allocate-node-cidrs off."
    ),
    run=run,
)
