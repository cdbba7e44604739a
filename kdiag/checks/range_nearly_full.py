"""KD109: a range of Service or pod addresses is nearly used up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kdiag.checks.addressing import (
    FAMILIES,
    allocated_services,
    fact_evidence,
    judged_nodes,
    listed,
    networks_of,
    outermost,
    service_range_facts,
    uses_node_ranges,
)
from kdiag.checks.evidence import from_api
from kdiag.checks.interface import Check
from kdiag.model.addresses import Address, Network
from kdiag.model.report import Affected, Finding, Severity
from kdiag.model.view import View

_WORTH_KNOWING = 0.80
_ALARMING = 0.95
_BITMAP_ADDRESSES = 65536
"""IPv6 addresses that the allocator before ServiceCIDR objects uses of a range (pkg/registry/core/service/ipallocator)."""


def run(view: View) -> Iterable[Finding]:
    """One finding per family of the Service range, one per node and family of its podCIDR."""
    yield from _services(view)
    if uses_node_ranges(view.cluster):
        yield from _nodes(view)


def _services(view: View) -> Iterator[Finding]:
    facts = service_range_facts(view.facts)
    limited = not view.cluster.service_cidrs
    for family in FAMILIES:
        ranges = outermost(networks_of(facts, family))
        usable = sum(_usable_by_services(network, limited=limited) for network in ranges)
        addresses = {item for service in allocated_services(view.cluster) for item in service.cluster_ips}
        used = _inside(addresses, ranges)
        if usable <= 0 or used / usable <= _WORTH_KNOWING:
            continue
        stating = [fact for fact in facts if any(network in fact.networks for network in ranges)]
        yield CHECK.finding(
            severity=_severity(used / usable),
            title=f"The {family} Service range is nearly full",
            expected=f"at most {_WORTH_KNOWING:.0%} in use",
            actual=f"{used} of {usable} addresses in use",
            message=(
                f"{used} of the {usable} addresses of {listed(map(str, ranges))} belong to Services ({used / usable:.0%}). When "
                "none is left, no Service can be created."
            ),
            evidence=fact_evidence(stating),
        )


def _nodes(view: View) -> Iterator[Finding]:
    for node in judged_nodes(view.cluster):
        pods = [
            pod for pod in view.cluster.pods_by_node.get(node.name, ()) if not pod.host_network and not pod.terminated
        ]
        addresses = {address for pod in pods for address in pod.ips}
        for family_version in (4, 6):
            ranges = outermost(network for network in node.pod_cidrs if network.version == family_version)
            usable = sum(_usable_by_pods(network) for network in ranges)
            used = _inside(addresses, ranges)
            if usable <= 0 or used / usable <= _WORTH_KNOWING:
                continue
            # The kubelet stops at its limit of pods; a range that holds them all cannot run out.
            if node.pod_capacity is not None and node.pod_capacity <= usable:
                continue
            text = f"Node {node.name} has podCIDR {listed(map(str, ranges))}, room for {node.pod_capacity or 'any number of'} pods"
            yield CHECK.finding(
                severity=_severity(used / usable),
                title="A node's podCIDR is nearly full",
                node=node.name,
                expected=f"at most {_WORTH_KNOWING:.0%} in use",
                actual=f"{used} of {usable} addresses in use",
                message=(
                    f"{used} of the {usable} addresses of {listed(map(str, ranges))} on {node.name} belong to pods "
                    f"({used / usable:.0%}), and the kubelet would take more. A pod that gets no address does not start."
                ),
                hint="Lower the node's maxPods, or give new nodes a larger range (--node-cidr-mask-size).",
                affected=[Affected(node=node.name)],
                evidence=from_api(view.cluster, "nodes", text),
            )


def _usable_by_services(network: Network, *, limited: bool) -> int:
    """Addresses that can be allocated: not the first, and of IPv4 not the last (dataplane: `ipallocator`)."""
    if network.version == 4:
        return network.num_addresses - 2
    usable = network.num_addresses - 1
    return min(usable, _BITMAP_ADDRESSES - 1) if limited else usable


def _usable_by_pods(network: Network) -> int:
    """Addresses that host-local gives to pods: not the network's, the gateway's or (IPv4) the broadcast address."""
    return network.num_addresses - (3 if network.version == 4 else 2)


def _inside(addresses: Iterable[Address], ranges: tuple[Network, ...]) -> int:
    return sum(
        1 for item in addresses if any(item.version == network.version and item in network for network in ranges)
    )


def _severity(share: float) -> Severity:
    return Severity.WARNING if share > _ALARMING else Severity.INFO


CHECK = Check(
    code="KD109",
    slug="range-nearly-full",
    title="An address range is nearly full",
    severity=Severity.INFO,
    explanation="""\
The Service range and the podCIDR of each node are fixed numbers of addresses.

**What it does to traffic.** Nothing until the last address is gone. Then no Service can be created, or no pod starts on the
node (`failed to allocate for range`).

**How it is found.** The distinct addresses of Services in all Service ranges of a family, and of pods in their node's podCIDR, are
counted against the usable ones: without the network and broadcast address, and for pods without the gateway. Above 80 % it
is *info*, above 95 % a *warning*.

**What is left alone.** Nodes whose limit of pods is smaller than the range; pod ranges of CNIs that do not use podCIDRs; IPv6
ranges beyond the 65536 addresses that allocators before ServiceCIDR objects use are counted as that many.
""",
    hint="Add a ServiceCIDR object (1.33 and later), delete Services that nobody uses, or make them headless.",
    run=run,
)
