"""Which ranges of addresses a cluster has, who states them, and how much of each is in use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_network

from kdiag.checks.addressing import (
    allocated_services,
    connected_network,
    contains,
    describe_fact,
    judged_nodes,
    network_order,
    networks_of,
    node_addresses,
    outermost,
    overlap,
    pods_share_node_network,
    running_pods,
    service_range_facts,
    uses_node_ranges,
)
from kdiag.checks.host_networks import HostNetwork, HostNetworkKind, host_networks
from kdiag.model.addresses import Address, AddressSet, Family, Network, family_of
from kdiag.model.facts import Fact, FactKind
from kdiag.model.overview import AddressRange, AddressRanges, RangeKind
from kdiag.model.view import View

KIND_ORDER = tuple(RangeKind)

_PLACES_NAMED = 3


def address_ranges(view: View) -> AddressRanges:
    """Every range that the cluster states or its nodes show, by family and address."""
    found = [*_services(view), *_pods(view), *_nodes(view), *_others(view)]
    return AddressRanges(
        ranges=tuple(sorted(found, key=_order)),
        pods_in_node_network=pods_share_node_network(view),
    )


def _order(item: AddressRange) -> tuple[tuple[int, int, int], int, str]:
    return network_order(item.network), KIND_ORDER.index(item.kind), item.label


def _stating(facts: Iterable[Fact], network: Network) -> tuple[str, ...]:
    return tuple(dict.fromkeys(describe_fact(fact) for fact in facts if network in fact.networks))


def _inside(addresses: AddressSet, network: Network) -> int:
    return (addresses & AddressSet.of(family_of(network), [network])).size


def _services(view: View) -> Iterator[AddressRange]:
    facts = service_range_facts(view.facts)
    known = "services" in view.cluster.seen
    taken = _sets(address for service in allocated_services(view.cluster) for address in service.cluster_ips)
    for network in networks_of(facts):
        # The first address is never given out, and of IPv4 not the last (pkg/registry/core/service/ipallocator).
        usable = network.num_addresses - (2 if network.version == 4 else 1)
        counted = known and usable > 0
        yield AddressRange(
            kind=RangeKind.SERVICE,
            network=network,
            stated_by=_stating(facts, network),
            used=_inside(taken[family_of(network)], network) if counted else None,
            usable=usable if counted else None,
            used_by="Services" if counted else None,
        )


def _pods(view: View) -> Iterator[AddressRange]:
    """Pod ranges, pools, and the podCIDRs of nodes; a network that a pod range and a pool share is told once."""
    facts = view.facts
    in_use = _sets(address for pod in running_pods(view.cluster) for address in pod.ips)
    known = "pods" in view.cluster.seen
    by_nodes = uses_node_ranges(view.cluster)
    given_out = {
        family: AddressSet.of(family, (own for node in view.cluster.nodes for own in node.pod_cidrs))
        for family in Family
    }
    stated = list(facts.of(FactKind.POD_RANGE))
    pools = list(facts.of(FactKind.CNI_RANGE))
    told = set()
    for kind, group in ((RangeKind.POD, stated), (RangeKind.CNI_POOL, pools)):
        for network in networks_of(group):
            if network in told:
                continue
            told.add(network)
            family = family_of(network)
            used = _inside(given_out[family] if by_nodes else in_use[family], network)
            counted = by_nodes or known
            yield AddressRange(
                kind=kind,
                network=network,
                stated_by=_stating([*stated, *pools], network),
                used=used if counted else None,
                usable=network.num_addresses if counted else None,
                used_by=("nodes" if by_nodes else "pods") if counted else None,
            )
    for node in sorted(view.cluster.nodes, key=lambda item: item.name):
        for network in sorted(set(node.pod_cidrs), key=network_order):
            # host-local gives out neither the network's own address, nor the gateway's, nor (IPv4) the last one.
            usable = network.num_addresses - (3 if network.version == 4 else 2)
            counted = known and by_nodes and usable > 0
            yield AddressRange(
                kind=RangeKind.NODE_POD,
                network=network,
                label=node.name,
                stated_by=(f"Node {node.name} spec.podCIDRs",),
                used=_inside(in_use[family_of(network)], network) if counted else None,
                usable=usable if counted else None,
                used_by="pods" if counted else None,
            )


def _sets(addresses: Iterable[Address]) -> dict[Family, AddressSet]:
    found = list(addresses)
    return {family: AddressSet.of(family, found) for family in Family}


def _nodes(view: View) -> Iterator[AddressRange]:
    """The networks that hold the nodes' own addresses; an address whose network is not known stands for itself."""
    holders: dict[Network, list[tuple[str, str]]] = {}
    addresses: list[Address] = []
    for node in judged_nodes(view.cluster):
        shown = view.node_by_name.get(node.name)
        links = (shown.host.addresses if shown is not None else None) or ()
        for kind, address in node_addresses(node):
            if kind != "InternalIP":
                continue
            addresses.append(address)
            link = next((item for item in links if item.address == address), None)
            network = (connected_network(link) if link is not None else None) or ip_network(address)
            holders.setdefault(network, []).append((link.interface if link is not None else "", node.name))
    taken = _sets(addresses)
    outer: list[tuple[Network, list[tuple[str, str]]]] = []
    for network in sorted(holders, key=network_order):
        # In this order, what holds a network is the last one that was kept.
        if outer and contains(outer[-1][0], network):
            outer[-1][1].extend(holders[network])
        else:
            outer.append((network, list(holders[network])))
    for network, places in outer:
        names = sorted({node for _, node in places})
        single = network.num_addresses == 1
        yield AddressRange(
            kind=RangeKind.NODE_NETWORK,
            network=network,
            label=_label([interface for interface, _ in places if interface], names),
            stated_by=tuple(f"address of node {name}" for name in names[:_PLACES_NAMED]),
            used=None if single else _inside(taken[family_of(network)], network),
            usable=None if single else network.num_addresses - (2 if network.version == 4 else 1),
            used_by=None if single else "nodes",
        )


def _others(view: View) -> Iterator[AddressRange]:
    """Networks of single nodes, and those that the user named."""
    own = {item.network for item in _nodes(view)}
    to_pods: dict[Network, bool] = {}
    found: dict[tuple[Network, str], list[HostNetwork]] = {}
    for item in host_networks(view):
        if item.network not in to_pods:
            to_pods[item.network] = _holds_pods(view, item.network)
        # A link or route by which the CNI reaches pods shares their addresses because it must.
        if item.network in own or (item.kind is not HostNetworkKind.BRIDGE and to_pods[item.network]):
            continue
        found.setdefault((item.network, item.interface), []).append(item)
    for (network, interface), items in found.items():
        yield AddressRange(
            kind=RangeKind.HOST_NETWORK,
            network=network,
            label=_label([interface], sorted({item.node for item in items})),
            stated_by=tuple(dict.fromkeys(f"{item.text} on {item.node}" for item in items[:_PLACES_NAMED])),
        )
    for network in outermost(view.reserved):
        yield AddressRange(kind=RangeKind.RESERVED, network=network, stated_by=("--reserved",))


def _holds_pods(view: View, network: Network) -> bool:
    return any(overlap(network, own) is not None for node in view.cluster.nodes for own in node.pod_cidrs)


def _label(interfaces: Iterable[str], nodes: list[str]) -> str:
    """`eth0 on node01`, `eth0 on 3 nodes`."""
    where = nodes[0] if len(nodes) == 1 else f"{len(nodes)} nodes"
    named = sorted(set(interfaces))
    return f"{named[0]} on {where}" if len(named) == 1 else where
