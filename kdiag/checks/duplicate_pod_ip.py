"""KD106: two running pods have one address."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.addressing import listed, running_pods
from kdiag.checks.evidence import from_api
from kdiag.checks.interface import Check
from kdiag.model.addresses import Address
from kdiag.model.cluster import ClusterState, Pod
from kdiag.model.objects import ObjectKey
from kdiag.model.report import Affected, Finding, Severity
from kdiag.model.view import View


def run(view: View) -> Iterable[Finding]:
    """One finding per address that is shared in both readings of the API."""
    before, after = view.of_both(_shared)
    for address in sorted(after, key=lambda item: (item.version, int(item))):
        pods = [pod for key, pod in sorted(after[address].items()) if key in before.get(address, {})]
        if len(pods) > 1:
            yield _finding(view, address, pods)


def _shared(state: ClusterState) -> dict[Address, dict[ObjectKey, Pod]]:
    """Addresses that more than one pod on a living node has."""
    holders: dict[Address, dict[ObjectKey, Pod]] = {}
    for pod in running_pods(state):
        node = state.node_by_name.get(pod.node_name or "")
        # What a lost node reports of its pods is out of date, and their addresses may have been given away.
        if node is not None and node.ready:
            for address in pod.ips:
                holders.setdefault(address, {})[pod.key] = pod
    return {address: pods for address, pods in holders.items() if len(pods) > 1}


def _finding(view: View, address: Address, pods: list[Pod]) -> Finding:
    texts = [f"{pod.key} on {pod.node_name}" for pod in pods]
    nodes = {pod.node_name for pod in pods}
    return CHECK.finding(
        node=pods[0].node_name if len(nodes) == 1 else None,
        expected="one pod",
        actual=listed(texts),
        message=f"The address {address} belongs to {len(pods)} running pods: {listed(texts)}. Only one of them gets its packets.",
        affected=[Affected(node=pod.node_name) for pod in pods],
        evidence=[item for text in texts for item in from_api(view.cluster, "pods", f"Pod {text} has {address}")],
    )


CHECK = Check(
    code="KD106",
    slug="duplicate-pod-ip",
    title="Two pods have one address",
    severity=Severity.ERROR,
    explanation="""\
Two running pods with a network of their own report the same address.

**What it does to traffic.** Packets for the address reach one of the pods, which may change with every node and every entry
of a neighbour table. Services that balance to the other one send its share to the wrong program. Causes: nodes with the same
podCIDR (KD105), the state of an address allocator that was lost in a reboot, two CNI configurations on one node.

**How it is found.** Pods that are Running, are not being deleted and stand on a Ready node are compared by address. Both
readings of the API must show it: an address passes quickly from a pod that ends to one that starts.

**What is left alone.** Pods of the host's network, which share the node's address; pods that have ended; pods on nodes that are
not Ready.
""",
    hint="Delete one of the pods. If it comes back with a shared address, compare the nodes' podCIDRs and CNI state.",
    run=run,
)
