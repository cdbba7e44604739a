"""KD226: an address on kube-ipvs0 that no Service has."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.evidence import from_host
from kdiag.checks.group_words import listed
from kdiag.checks.interface import Check
from kdiag.model.addresses import Address, parse_address
from kdiag.model.cluster import ClusterState
from kdiag.model.difference import CauseKind
from kdiag.model.proxy import ProxyMode
from kdiag.model.report import Finding, Severity
from kdiag.model.view import NodeView, View
from kdiag.walk.network import IPVS_DEVICE as DEVICE

SHOWN = 5


def run(view: View) -> Iterable[Finding]:
    """One finding per node; one of its own for each address that another machine has."""
    nodes = [node for node in view.nodes if node.mode is ProxyMode.IPVS and not _unsettled(node)]
    if not nodes:
        return
    wanted = _addresses_of_services(view.cluster) | _addresses_of_services(view.before)
    owners = _owners(view)
    for node in nodes:
        # An address with a virtual server is told by what the packets meet there (KD202, KD223).
        served = {server.address for server in node.ipvs.servers} if node.ipvs is not None else set()
        held = {item.address for item in node.host.addresses or () if item.interface == DEVICE}
        left = sorted(held - wanted, key=lambda address: (address.version, int(address)))
        taken = [address for address in left if address in owners and owners[address] != f"node {node.name}"]
        for address in taken:
            yield CHECK.finding(
                severity=Severity.ERROR,
                node=node.name,
                expected=f"{address} only on {owners[address]}",
                actual=f"{address} on {DEVICE} of {node.name}, too",
                message=(
                    f"{node.name} has {address} on {DEVICE}, and that is the address of {owners[address]}: the node and its "
                    "pods do not reach the other machine any more, for they find the address at home."
                ),
                evidence=from_host(node, "addresses", f"{DEVICE}: {address}"),
            )
        idle = [address for address in left if address not in taken and address not in served]
        if idle and not _known_as_old(node):
            shown = listed(map(str, idle[:SHOWN])) + (f" and {len(idle) - SHOWN} more" if len(idle) > SHOWN else "")
            yield CHECK.finding(
                node=node.name,
                expected=f"only addresses of Services on {DEVICE}",
                actual=f"{len(idle)} address{'' if len(idle) == 1 else 'es'} that no Service has",
                message=(
                    f"{node.name} has {shown} on {DEVICE}, and no Service has {'it' if len(idle) == 1 else 'them'}: packets "
                    "to such an address end on the node, whoever else has it."
                ),
                evidence=from_host(node, "addresses", f"{DEVICE}: {', '.join(map(str, idle[:SHOWN]))}"),
            )


def _unsettled(node: NodeView) -> bool:
    """True where the API changed so lately that a Service may have gone just now."""
    return node.comparison is not None and any(item.unsettled for item in node.comparison.unclear)


def _known_as_old(node: NodeView) -> bool:
    """True where the node is told not to follow the API: such an address is then no news."""
    groups = node.comparison.groups if node.comparison is not None else ()
    return any(group.cause in (CauseKind.STALE_NODE, CauseKind.FLUSHED, CauseKind.NEVER_WROTE) for group in groups)


def _addresses_of_services(cluster: ClusterState) -> set[Address]:
    found: set[Address] = set()
    for service in cluster.services:
        found.update(service.cluster_ips)
        found.update(service.external_ips)
        found.update(ingress.ip for ingress in service.ingress if ingress.ip is not None)
    return found


def _owners(view: View) -> dict[Address, str]:
    """Whose an address is: of a node, or of a pod that is not on the host network."""
    found: dict[Address, str] = {}
    for pod in view.cluster.pods:
        if not pod.host_network and not pod.terminated:
            found.update((address, f"pod {pod.key}") for address in pod.ips)
    for node in view.cluster.nodes:
        for _, text in node.addresses:
            address = parse_address(text)
            if address is not None:
                found[address] = f"node {node.name}"
    return found


CHECK = Check(
    code="KD226",
    slug="ipvs-address-left",
    title="kube-ipvs0 holds an address that no Service has",
    severity=Severity.WARNING,
    explanation="""\
In IPVS mode kube-proxy puts every address of a Service on the device kube-ipvs0, so that the node takes packets to it for its
own, and takes it away with the Service. Here one stayed, or was put there by hand or by another program.

**What it does to traffic.** Packets to the address end on the node. That is harmless as long as nobody else has it. If it is
the address of another node or of a pod, this node and its pods do not reach that machine any more: that is an error.

**How it is found.** The addresses on kube-ipvs0 are compared with the cluster IPs, external IPs and load balancer addresses of
all Services, and with the addresses of nodes and pods.

**What is left alone.** Addresses with a virtual server: what packets meet there is told as KD202 or KD223. Nodes read while
Services changed, nodes that are told to be out of date as a whole (KD211, KD212, KD223), and nodes in other modes (KD225).
""",
    hint="ip addr del ADDRESS/32 dev kube-ipvs0 on the node; kube-proxy puts back what belongs there.",
    run=run,
    needs_nodes=True,
)
