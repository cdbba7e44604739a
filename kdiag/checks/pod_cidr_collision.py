"""KD105: two nodes own the same pod addresses."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.addressing import judged_nodes, network_order, overlap
from kdiag.checks.evidence import from_api
from kdiag.checks.interface import Check
from kdiag.model.addresses import Network
from kdiag.model.report import Affected, Finding, Severity
from kdiag.model.view import View
from kdiag.parse.cni import AddressSource, recognise_cni


def run(view: View) -> Iterable[Finding]:
    """One finding per pair of nodes and family."""
    if recognise_cni(view.cluster).addresses in (AddressSource.OWN_POOL, AddressSource.NODE_NETWORK):
        return
    ranges = [(network, node.name) for node in judged_nodes(view.cluster) for network in node.pod_cidrs]
    ranges.sort(key=lambda item: (network_order(item[0]), item[1]))
    # In this order a range comes right behind those that it lies in.
    enclosing: list[tuple[Network, str]] = []
    for network, name in ranges:
        enclosing = [item for item in enclosing if overlap(item[0], network) is not None]
        for other, owner in enclosing:
            if owner != name:
                yield _finding(view, (other, owner), (network, name))
        enclosing.append((network, name))


def _finding(view: View, first: tuple[Network, str], second: tuple[Network, str]) -> Finding:
    (outer, owner), (inner, name) = first, second
    texts = [f"Node {owner} has podCIDR {outer}", f"Node {name} has podCIDR {inner}"]
    return CHECK.finding(
        expected="a range for each node alone",
        actual=f"{outer} of {owner} and {inner} of {name}",
        message=(
            f"The podCIDRs of {owner} ({outer}) and {name} ({inner}) share {inner}. Both can give a pod the same address, and "
            "packets for it go to one of the nodes only."
        ),
        affected=[Affected(node=owner), Affected(node=name)],
        evidence=[item for text in texts for item in from_api(view.cluster, "nodes", text)],
    )


CHECK = Check(
    code="KD105",
    slug="pod-cidr-collision",
    title="Two nodes own the same pod range",
    severity=Severity.ERROR,
    explanation="""\
The podCIDRs of two nodes are equal, or one lies in the other. Kubernetes gives out ranges that are apart; they collide when
they are set by hand, when a lease of a deleted node is used again, or when two controllers hand them out.

**What it does to traffic.** Each node of the cluster has one route to a range: pods of the other node cannot be reached from
it, and sooner or later two pods have one address.

**How it is found.** `spec.podCIDRs` of all nodes are compared with each other.

**What is left alone.** CNIs that do not use podCIDRs (Calico, Cilium with its own pools, VPC-native ones); Windows and virtual
nodes.
""",
    hint="Drain one of the two nodes, delete its Node object and let it join again, so that it gets a range of its own.",
    run=run,
)
