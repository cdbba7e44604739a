"""KD103: a pod has an address outside the podCIDR of its node, with a CNI that uses podCIDRs."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.addressing import listed, pod_placements, uses_node_ranges
from kdiag.checks.evidence import from_api
from kdiag.checks.interface import Check
from kdiag.model.addresses import Address, Network
from kdiag.model.cluster import Pod
from kdiag.model.report import Affected, Finding, Severity
from kdiag.model.view import View

_OTHER_NETWORK = "v1.multus-cni.io/default-network"
"""Annotation that gives one pod another default network (Multus)."""


def run(view: View) -> Iterable[Finding]:
    """One finding per node."""
    if not uses_node_ranges(view.cluster):
        return
    outside: dict[str, list[tuple[Pod, Address, tuple[Network, ...]]]] = {}
    for pod, address, ranges in pod_placements(view.cluster):
        if _OTHER_NETWORK in pod.meta.annotations or any(address in network for network in ranges):
            continue
        outside.setdefault(pod.node_name or "", []).append((pod, address, ranges))
    for node in sorted(outside):
        yield _finding(view, node, outside[node])


def _finding(view: View, node: str, found: list[tuple[Pod, Address, tuple[Network, ...]]]) -> Finding:
    owners = {
        address: other.name
        for _, address, _ in found
        for other in view.cluster.nodes
        if other.name != node and any(item.version == address.version and address in item for item in other.pod_cidrs)
    }
    ranges = listed(str(network) for _, _, networks in found for network in networks)
    texts = [
        f"{pod.key} has {address}" + (f", which belongs to {owners[address]}" if address in owners else "")
        for pod, address, _ in found
    ]
    effect = (
        "Other nodes send packets for an address to the node whose podCIDR holds it, so these pods get no answer to what they "
        "ask there, and Services lose the connections that are balanced to them."
        if owners
        else "No route leads to such an address from other nodes."
    )
    return CHECK.finding(
        node=node,
        severity=Severity.ERROR if owners else Severity.WARNING,
        expected=f"addresses in {ranges}",
        actual=listed(str(address) for _, address, _ in found),
        message=f"Pods on {node} have addresses outside its podCIDR ({ranges}): {listed(texts, 10)}. {effect}",
        affected=[Affected(node=node)],
        evidence=[
            *from_api(view.cluster, "nodes", f"Node {node} has podCIDRs {ranges}"),
            *(
                item
                for pod, address, _ in found
                for item in from_api(view.cluster, "pods", f"Pod {pod.key} on {node} has {address}")
            ),
        ],
    )


CHECK = Check(
    code="KD103",
    slug="pod-ip-outside-range",
    title="Pod addresses lie outside their node's podCIDR",
    severity=Severity.WARNING,
    explanation="""\
With flannel, kindnet, kube-router, kubenet and others a pod gets its address from the podCIDR of its node, and the other
nodes find it by that range.

**What it does to traffic.** An address outside leads nowhere, or to the node that owns the range: an *error* then. The usual
causes are a second CNI configuration in `/etc/cni/net.d` that sorts first (a default of the container runtime), an old
`subnet.env`, and a node that was given a new podCIDR under running pods.

**How it is found.** The addresses of running pods are compared with `spec.podCIDRs` of their node, family by family.

**What is left alone.** CNIs that do not use podCIDRs: Calico, Cilium with its own pools, VPC-native ones and others. Where the
CNI cannot be recognised, at least four fifths of the pods must lie in their node's range before the rest is called wrong.
Pods of the host's network, pods that end, and pods that Multus gives another default network.
""",
    hint="On the node, compare /etc/cni/net.d with that of a healthy node and restart the pods once it is mended.",
    run=run,
)
