"""KD101: two address ranges that ought to be apart overlap."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from kdiag.checks.addressing import (
    CONTROLLERS,
    allocated_services,
    contains,
    fact_evidence,
    judged_nodes,
    listed,
    networks_of,
    node_address_evidence,
    node_addresses,
    outermost,
    overlap,
    pods_share_node_network,
    running_pods,
    service_range_facts,
    uses_node_ranges,
)
from kdiag.checks.evidence import from_api
from kdiag.checks.host_networks import HostNetwork, HostNetworkKind, contains_address, host_networks, is_inside
from kdiag.checks.interface import Check
from kdiag.checks.planned_ranges import planned_meetings
from kdiag.model.addresses import Address, Network
from kdiag.model.cluster import Node
from kdiag.model.facts import Fact, FactKind
from kdiag.model.report import Affected, Evidence, Finding, Severity
from kdiag.model.view import View
from kdiag.parse.cni import AddressSource, recognise_cni

RANGES_SHOWN = 5
"""Pod ranges whose sources a message names."""


class _PodRange(Struct, frozen=True, kw_only=True):
    """A range of pod addresses with those who state it. `weak` if only kube-proxy does, which allocates nothing."""

    network: Network
    facts: tuple[Fact, ...]
    weak: bool = False


def run(view: View) -> Iterable[Finding]:
    """Compare Service and pod ranges with each other, with node addresses, the nodes' networks and reserved ranges."""
    facts = service_range_facts(view.facts)
    services = outermost(networks_of(facts))
    pods = _pod_ranges(view)
    yield from _services_and_pods(view, services, facts, pods)
    yield from _services_and_nodes(view, services, facts)
    if not pods_share_node_network(view):
        yield from _pods_and_nodes(view, pods)
    yield from _host_networks(view, services, facts, pods)
    yield from _reserved(view, services, facts, pods)
    for item in planned_meetings(view):
        yield CHECK.finding(
            severity=Severity.ERROR,
            title=item.title,
            expected="ranges that share no address",
            actual=f"{item.left} and {item.right} share {item.shared}",
            message=item.message,
            evidence=fact_evidence(item.facts),
        )


def _pod_ranges(view: View) -> tuple[_PodRange, ...]:
    """Ranges that pods get addresses from, largest first; one that lies in another is left out.

    kube-proxy's cluster CIDR counts only where nobody else states a range. The podCIDRs of nodes count if the CNI uses
    them.
    """
    facts = view.facts
    stated = [fact for fact in facts.of(FactKind.POD_RANGE) if fact.component != "kube-proxy"]
    pools = list(facts.of(FactKind.CNI_RANGE))
    own_pool = recognise_cni(view.cluster).addresses in (AddressSource.OWN_POOL, AddressSource.NODE_NETWORK)
    nodes = [] if own_pool else list(facts.of(FactKind.NODE_POD_RANGE))
    by_network: dict[Network, list[Fact]] = {}
    for fact in [*stated, *pools, *nodes]:
        for network in fact.networks:
            by_network.setdefault(network, []).append(fact)
    weak = not by_network
    if weak:
        for fact in facts.of(FactKind.POD_RANGE):
            for network in fact.networks:
                by_network.setdefault(network, []).append(fact)
    return tuple(
        _PodRange(network=network, facts=tuple(by_network[network]), weak=weak) for network in outermost(by_network)
    )


def _sources(what: str, network: Network, facts: Iterable[Fact]) -> str:
    """A line of a message: `- pod range 10.244.0.0/16: kubeadm networking.podSubnet`, replicas only once."""
    words = [
        f"{fact.component} (default)" if fact.flag == "default" else f"{fact.component} {fact.flag}" for fact in facts
    ]
    return f"\n- {what} range {network}: {listed(words)}"


def _stating(facts: Iterable[Fact], network: Network) -> tuple[Fact, ...]:
    return tuple(fact for fact in facts if network in fact.networks)


def _services_and_pods(
    view: View, services: tuple[Network, ...], facts: tuple[Fact, ...], pods: tuple[_PodRange, ...]
) -> Iterator[Finding]:
    loose: list[tuple[Network, _PodRange]] = []
    for network in services:
        for pod_range in pods:
            if pod_range.weak or overlap(network, pod_range.network) is None:
                continue
            if all(fact.kind is FactKind.NODE_POD_RANGE for fact in pod_range.facts):
                loose.append((network, pod_range))
            else:
                yield _service_pod_finding(view, network, facts, (pod_range,))
    # Ranges of single nodes that no cluster-wide range holds have one cause together.
    for network in services:
        ranges = tuple(pod_range for other, pod_range in loose if other == network)
        if ranges:
            yield _service_pod_finding(view, network, facts, ranges)


def _service_pod_finding(
    view: View, network: Network, facts: tuple[Fact, ...], ranges: tuple[_PodRange, ...]
) -> Finding:
    pod_addresses = {address for pod in running_pods(view.cluster) for address in pod.ips}
    uses_ranges = uses_node_ranges(view.cluster)
    node_ranges = [
        (node, own)
        for node in judged_nodes(view.cluster)
        for own in node.pod_cidrs
        if uses_ranges and overlap(own, network) is not None
    ]
    both: list[tuple[str, Address, str]] = []
    for service in allocated_services(view.cluster):
        for address in service.cluster_ips:
            if not contains_address(network, address):
                continue
            holder = next((node.name for node, own in node_ranges if contains_address(own, address)), None)
            if address in pod_addresses:
                both.append((str(service.key), address, "a pod has the same address"))
            elif holder is not None:
                both.append((str(service.key), address, f"it lies in the podCIDR of {holder}"))
    taken = any(contains_address(network, address) for address in pod_addresses)
    spared = (
        not both
        and not node_ranges
        and not taken
        and all(fact.kind is not FactKind.CNI_RANGE for item in ranges for fact in item.facts)
        and any(
            fact.component == CONTROLLERS and any(contains(own, network) for own in fact.networks)
            for fact in view.facts.of(FactKind.SERVICE_RANGE)
        )
    )
    severity = Severity.ERROR if both else Severity.INFO if spared else Severity.WARNING
    shared = overlap(network, ranges[0].network)
    pod_text = listed(str(item.network) for item in ranges)
    effect = (
        f"Addresses are both already: {listed(f'{address} of {name} ({why})' for name, address, why in both)}."
        if both
        else "The controller manager knows the Service range and leaves it out, and no node has a part of it."
        if spared
        else "A pod can get the address of a Service: its traffic then goes to the Service's endpoints."
    )
    return CHECK.finding(
        severity=severity,
        title="Pod range and Service range overlap",
        expected="ranges that share no address",
        actual=f"{network} (Services) and {pod_text} (pods) share {shared}",
        message=(
            f"The Service range {network} overlaps the pod range {pod_text}. {effect}"
            + _sources("Service", network, _stating(facts, network))
            + "".join(_sources("pod", item.network, item.facts) for item in ranges[:RANGES_SHOWN])
            + (f"\n- and {len(ranges) - RANGES_SHOWN} more" if len(ranges) > RANGES_SHOWN else "")
        ),
        affected=[
            *(Affected(service=name) for name, _, _ in both),
            *(Affected(node=node.name) for node, _ in node_ranges),
        ],
        evidence=[
            *fact_evidence(_stating(facts, network)),
            *(item for pod_range in ranges for item in fact_evidence(pod_range.facts)),
            *(
                item
                for name, address, _ in both
                for item in from_api(view.cluster, "services", f"{name} has {address}")
            ),
        ],
    )


def _nodes_inside(view: View, network: Network) -> list[tuple[Node, Address]]:
    return [
        (node, address)
        for node in judged_nodes(view.cluster)
        for _, address in node_addresses(node)
        if contains_address(network, address)
    ]


def _services_and_nodes(view: View, services: tuple[Network, ...], facts: tuple[Fact, ...]) -> Iterator[Finding]:
    for network in services:
        inside = _nodes_inside(view, network)
        if inside:
            yield _node_finding(view, network, "Service", _stating(facts, network), inside, Severity.ERROR)


def _pods_and_nodes(view: View, pods: tuple[_PodRange, ...]) -> Iterator[Finding]:
    for pod_range in pods:
        inside = _nodes_inside(view, pod_range.network)
        if inside:
            severity = Severity.WARNING if pod_range.weak else Severity.ERROR
            yield _node_finding(view, pod_range.network, "pod", pod_range.facts, inside, severity)


def _node_finding(
    view: View,
    network: Network,
    what: str,
    facts: tuple[Fact, ...],
    inside: list[tuple[Node, Address]],
    severity: Severity,
) -> Finding:
    texts = [f"{address} of {node.name}" for node, address in inside]
    effect = (
        "A Service that gets such an address takes the node's traffic away, on every node of the cluster."
        if what == "Service"
        else "kube-proxy takes such a node for a pod, and a pod can get the address of a node: packets to one end at the other."
    )
    return CHECK.finding(
        severity=severity,
        title=f"Node addresses lie in the {what} range",
        node=inside[0][0].name if len({node.name for node, _ in inside}) == 1 else None,
        expected=f"no node address in {network}",
        actual=listed(texts),
        message=(
            f"The {what} range {network} holds addresses of nodes: {listed(texts)}. {effect}"
            + _sources(what, network, facts)
        ),
        affected=[Affected(node=node.name) for node, _ in inside],
        evidence=[*fact_evidence(facts), *node_address_evidence(view.cluster, inside)],
    )


def _host_networks(
    view: View, services: tuple[Network, ...], facts: tuple[Fact, ...], pods: tuple[_PodRange, ...]
) -> Iterator[Finding]:
    """One finding for each network of hosts and range of the cluster, with all the nodes that have it."""
    share = pods_share_node_network(view)
    ranges = [(network, "Service", _stating(facts, network)) for network in services]
    ranges += [(item.network, "pod", item.facts) for item in pods if not item.weak]
    found: dict[tuple[Network, str, Network, str], list[HostNetwork]] = {}
    stating: dict[Network, tuple[Fact, ...]] = {network: stated for network, _, stated in ranges}
    for item in host_networks(view):
        for network, what, _ in ranges:
            if overlap(item.network, network) is None:
                continue
            if item.kind is HostNetworkKind.ROUTE and not is_inside(item.network, network):
                continue
            if what == "pod" and item.kind is not HostNetworkKind.BRIDGE and (share or _leads_to_pods(view, item)):
                continue
            if item.kind is HostNetworkKind.LINK and _nodes_inside(view, network):
                continue
            found.setdefault((item.network, item.interface, network, what), []).append(item)
        if item.kind is HostNetworkKind.BRIDGE and _nodes_inside(view, item.network):
            found.setdefault((item.network, item.interface, item.network, "node"), []).append(item)
    for (network, _, other, what), items in found.items():
        yield _host_finding(view, network, other, what, stating.get(other, ()) if what != "node" else (), items)


def _leads_to_pods(view: View, item: HostNetwork) -> bool:
    """True if pods stand behind the link or route, now or by the podCIDR of a node: it is how the CNI reaches them."""
    if any(overlap(item.network, own) == item.network for node in view.cluster.nodes for own in node.pod_cidrs):
        return True
    if any(contains(item.network, own) for node in view.cluster.nodes for own in node.pod_cidrs):
        return item.kind is HostNetworkKind.ROUTE
    return item.kind is HostNetworkKind.ROUTE and any(
        contains_address(item.network, address) for pod in running_pods(view.cluster) for address in pod.ips
    )


def _host_finding(
    view: View, network: Network, other: Network, what: str, facts: tuple[Fact, ...], items: list[HostNetwork]
) -> Finding:
    first = items[0]
    hit: list[str] = []
    if what == "node":
        hit = [f"{address} of node {node.name}" for node, address in _nodes_inside(view, network)]
    elif what == "pod":
        hit = [
            f"{address} of pod {pod.key}"
            for pod in running_pods(view.cluster)
            for address in pod.ips
            if first.kind is not HostNetworkKind.LINK and contains_address(network, address)
        ]
    severity = Severity.WARNING
    if hit and any(item.up for item in items):
        severity = Severity.ERROR
    elif first.kind is HostNetworkKind.BRIDGE and not any(item.in_use for item in items):
        severity = Severity.INFO
    names = {
        HostNetworkKind.BRIDGE: f"The bridge {first.interface} ({network})",
        HostNetworkKind.LINK: f"The network {network} at {first.interface}",
        HostNetworkKind.ROUTE: f"The route {first.text}",
    }
    nodes = sorted({item.node for item in items})
    target = "addresses of nodes" if what == "node" else f"the {what} range {other}"
    return CHECK.finding(
        severity=severity,
        title=f"A network of the nodes overlaps {'node addresses' if what == 'node' else f'the {what} range'}",
        node=nodes[0] if len(nodes) == 1 else None,
        expected=f"no other network in {other}" if what != "node" else "no node address behind a local bridge",
        actual=f"{first.text} on {listed(nodes)}",
        message=(
            f"{names[first.kind]} on {listed(nodes)} overlaps {target}. {_host_effect(first, what, hit, len(nodes))}"
            + (_sources(what, other, facts) if facts else "")
        ),
        hint=_host_hint(first),
        affected=[Affected(node=name) for name in nodes],
        evidence=[*fact_evidence(facts), *(item for host in items for item in _host_evidence(view, host))],
    )


def _host_effect(item: HostNetwork, what: str, hit: list[str], node_count: int) -> str:
    if hit:
        return f"Packets for {listed(hit)} are sent there."
    if what == "Service":
        return "Whatever stands behind it cannot be reached from the cluster once a Service has its address."
    there = "that node" if node_count == 1 else "those nodes"
    way = "by that route" if item.kind is HostNetworkKind.ROUTE else f"to {item.interface}"
    return f"Packets from {there} to a pod that gets such an address go {way} and are lost."


def _host_hint(item: HostNetwork) -> str:
    fixed = "the ranges of pods and Services cannot be changed in place"
    if item.kind is HostNetworkKind.ROUTE:
        return f"Delete the route if nothing needs it. Otherwise move what is behind it: {fixed}."
    if item.kind is HostNetworkKind.LINK:
        return f"Move the network at {item.interface} to a range that the cluster does not use: {fixed}."
    where = ""
    if item.interface == "docker0":
        where = ' ("bip" in /etc/docker/daemon.json)'
    elif item.interface.startswith(("docker", "br-")):
        where = ' ("default-address-pools" in /etc/docker/daemon.json, for networks that are made anew)'
    return f"Give {item.interface} another range{where}, or remove it if nothing uses it."


def _host_evidence(view: View, item: HostNetwork) -> tuple[Evidence, ...]:
    source = view.node_by_name[item.node].host.sources.get(item.probe)
    return (Evidence(source=source, text=item.text),) if source else ()


def _reserved(
    view: View, services: tuple[Network, ...], facts: tuple[Fact, ...], pods: tuple[_PodRange, ...]
) -> Iterator[Finding]:
    ranges = [(network, "Service", _stating(facts, network)) for network in services]
    ranges += [(item.network, "pod", item.facts) for item in pods]
    for reserved in outermost(view.reserved):
        for network, what, stated in ranges:
            shared = overlap(reserved, network)
            if shared is not None:
                yield CHECK.finding(
                    title=f"The {what} range overlaps a reserved range",
                    expected=f"no range of the cluster in {reserved}",
                    actual=f"{network} shares {shared}",
                    message=(
                        f"The {what} range {network} overlaps {reserved}, which was named as reserved. "
                        f"Hosts in the shared part cannot be reached from the cluster.{_sources(what, network, stated)}"
                    ),
                    evidence=fact_evidence(stated),
                )


CHECK = Check(
    code="KD101",
    slug="range-overlap",
    title="Address ranges overlap",
    severity=Severity.WARNING,
    explanation="""\
A cluster uses three kinds of addresses that must not meet: those of Services, of pods, and of the nodes and whatever else
the nodes can reach. Kubernetes does not compare them: overlapping ranges are accepted without a word.

**What it does to traffic.** kube-proxy translates packets to a Service address wherever they come from. If a pod, a node or a
host elsewhere has the same address, it can no longer be reached. It strikes late and at random, when the one address is
given out that something else has. A local bridge (`docker0`) or a static route inside the pod range takes the packets of
those pods on its node.

**How it is found.** Service ranges are those of ServiceCIDR objects and API servers; pod ranges those of the controller
manager, kubeadm, the CNI's pools and the podCIDRs of nodes; they are compared with each other, with the addresses of
nodes, with the bridges, links and static routes of every node, and with the ranges named with `--reserved`, family by
family. It is an *error* where an address is both already: a cluster IP that a pod has or that lies in a node's podCIDR, a
node's address in one of the ranges, a pod or node behind a foreign bridge. It is *info* where the controller manager knows
the Service range and keeps clear of it, and for a bridge that nothing uses. All else is a *warning*.

**What is left alone.** Pods inside the nodes' own network where the CNI means it so (VPC-native CNIs); podCIDRs that the CNI
ignores (Calico, Cilium's own pools); interfaces and routes of CNIs, and routes to nodes or their pods; the bridge that pods
of the node stand on; routes to networks that are larger than the range, which more precise ones override; kube-proxy's
cluster CIDR, which allocates nothing (see KD107); ServiceCIDR objects and pools that overlap each other.
""",
    hint=(
        "Choose a range that nothing else uses. Pods and Services cannot be moved in place: plan a new ServiceCIDR (1.33 and "
        "later) or pool, or move the smaller of the two networks away."
    ),
    run=run,
)
