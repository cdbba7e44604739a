"""KD412: a node without an address of a family that Services and other nodes have."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.evidence import from_host
from kdiag.checks.group_words import count, listed
from kdiag.checks.interface import Check
from kdiag.model.addresses import Family, family_of
from kdiag.model.report import Affected, Finding, Severity
from kdiag.model.view import NodeView, View

# Interfaces whose addresses are not the node's own.
NOT_OWN = ("kube-ipvs0", "nodelocaldns")


def run(view: View) -> Iterable[Finding]:
    """One finding per family, for all nodes that lack it."""
    known = [node for node in view.nodes if _counts(node)]
    for family in Family:
        services = [
            service.key
            for service in view.cluster.services
            if any(family_of(address) is family for address in service.cluster_ips)
        ]
        lacking = [node for node in known if family not in _families(node)]
        if not services or not lacking or len(lacking) == len(known):
            continue
        names = [node.name for node in lacking]
        yield CHECK.finding(
            node=names[0] if len(names) == 1 else None,
            expected=f"an {family} address, as the other nodes have",
            actual=f"no {family} address",
            message=(
                f"{listed(names)} {'has' if len(names) == 1 else 'have'} no {family} address beyond the loopback, and "
                f"{count(len(services), 'Service')} of this cluster {'has' if len(services) == 1 else 'have'} one "
                f"({listed(map(str, services[:3]))}{', …' if len(services) > 3 else ''}): from there these addresses are not "
                "reached, and NodePorts and load balancers that lead there get no answer in this family."
            ),
            evidence=tuple(line for node in lacking for line in from_host(node, "addresses", f"no {family} address")),
            affected=tuple(Affected(node=name) for name in names) if len(names) > 1 else (),
        )


def _counts(node: NodeView) -> bool:
    """True for a Linux node whose addresses were recorded and that kube-proxy serves."""
    if node.other_proxy is not None or (node.node is not None and node.node.os != "linux"):
        return False
    return bool(node.host.addresses)


def _families(node: NodeView) -> set[Family]:
    return {
        family_of(item.address)
        for item in node.host.addresses or ()
        if not item.address.is_loopback and not item.address.is_link_local and not item.interface.startswith(NOT_OWN)
    }


CHECK = Check(
    code="KD412",
    slug="node-lacks-family",
    title="A node lacks an address family that Services have",
    severity=Severity.WARNING,
    explanation="""\
The cluster has Services of a family, other nodes have addresses of it, and this node has none: IPv6 was turned on in the
cluster and not on this machine, a network interface lost its address, or the node was installed without it.

**What it does to traffic.** kube-proxy may write its rules all the same, but packets of that family find no way: pods on the
node do not reach those addresses, and a load balancer that counts the node in loses what it sends there.

**How it is found.** The node's addresses were recorded, and none of the family is among them but the loopback and link-local
ones; at least one Service has a cluster IP of the family, and at least one other node has an address of it.

**What is left alone.** Clusters of which no node has the family (then the Services are at fault, not a node), nodes whose
addresses were not recorded, Windows nodes and nodes where another product replaces kube-proxy.
""",
    hint="Give the node an address of the family, or take it out of the load balancer and away from pods that need it.",
    run=run,
    needs_nodes=True,
)
