"""A node as its packets see it: local addresses, routes, and who its clients are."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from kdiag.model.addresses import Address, AddressSet, Family, Network, family_of
from kdiag.model.cluster import Node, Pod
from kdiag.model.dataplane import ClientSet, Position
from kdiag.model.host import HostFacts, Route

LOOPBACK = {
    Family.IPV4: ipaddress.ip_network("127.0.0.0/8"),
    Family.IPV6: ipaddress.ip_network("::1/128"),
}
# Never the source of a packet that arrives from outside: "this network", loopback, multicast and reserved.
NO_SOURCE: dict[Family, tuple[Network, ...]] = {
    Family.IPV4: tuple(ipaddress.ip_network(text) for text in ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3")),
    Family.IPV6: tuple(ipaddress.ip_network(text) for text in ("::/127", "ff00::/8", "fe80::/10")),
}
# Interfaces that hold Service addresses rather than addresses of the node.
IPVS_DEVICE = "kube-ipvs0"
SERVICE_INTERFACES = (IPVS_DEVICE, "nodelocaldns*")
# Networks of containers or machines on the node that are not pods: their clients are not judged.
HOST_BRIDGES = ("docker*", "br-*", "virbr*", "lxdbr*", "lxcbr*", "podman*", "cni-podman*", "vnet*", "dummy*")
# Bridges by the names that CNI plugins and Docker give them, for dumps of `ip addr` that do not say the kind.
BRIDGE_NAMES = ("cni0", "cni-*", "cbr0", "kube-bridge", "docker0", "br-*", "virbr*", "lxdbr*", "mynet*")
MANY_INTERFACES = 4


def _named(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name is one of these; `*` at the end of one stands for any ending."""
    return any(name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern for pattern in patterns)


class NodeNetwork(Struct, frozen=True, kw_only=True):
    """One family of one node.

    `local` are all addresses that the node takes for its own; `local_known` is False where they come from the Node
    object only. `own` are the addresses that its processes use as source. `routes` are sorted, best first, and None if
    they were not recorded. `bridges` are interfaces whose packets pass netfilter as bridged ones. `primaries` are the
    first addresses of interfaces, as far as known.
    """

    family: Family
    local: AddressSet
    local_known: bool
    own: AddressSet
    routes: tuple[Route, ...] | None
    bridges: frozenset[str]
    bridge_netfilter: bool
    pods: AddressSet
    pod_clients: tuple[ClientSet, ...]
    external_clients: tuple[ClientSet, ...]
    primaries: Mapping[str, Address] = field(default_factory=dict)

    def clients(self, position: Position, destination: Address) -> tuple[ClientSet, ...]:
        """The clients of a position that may send to `destination`."""
        match position:
            case Position.POD:
                return self.pod_clients
            case Position.EXTERNAL:
                return self.external_clients
            case Position.NODE:
                if destination.is_loopback:
                    return (
                        ClientSet(addresses=AddressSet.of(self.family, (destination,)), interfaces=frozenset({"lo"})),
                    )
                return (ClientSet(addresses=self.own, interfaces=frozenset({"lo"})),) if self.own else ()

    def route(self, value: int) -> Route | None:
        """The route that a packet to the address takes; None if there is none or routes were not recorded."""
        for route in self.routes or ():
            network = route.network
            if int(network.network_address) <= value <= int(network.broadcast_address):
                return route
        return None

    def source_for(self, destination: Address) -> Address | None:
        """The source address that the kernel picks for the node's own packets, and that MASQUERADE writes.

        Taken from the route's preferred source, else from the first address on its interface.
        """
        if destination in self.local:
            return destination
        route = self.route(int(destination))
        if route is None:
            return None
        if route.preferred_source is not None:
            return route.preferred_source
        if route.gateway is not None:
            # `default via G dev eth0` has no prefsrc: the address on the gateway's own network is taken.
            via = self.route(int(route.gateway))
            if via is not None and via is not route and via.preferred_source is not None:
                return via.preferred_source
        return self.primaries.get(route.interface) if route.interface else None


def node_network(
    family: Family,
    host: HostFacts,
    node: Node | None,
    pods: Iterable[Pod],
    service_ranges: Iterable[Network] = (),
) -> NodeNetwork:
    """Work a node's network out from what was recorded; the Node object fills in where `ip addr` is missing."""
    addresses = [item for item in host.addresses or () if family_of(item.address) is family]
    node_addresses = [
        ipaddress.ip_address(text)
        for kind, text in (node.addresses if node else ())
        if kind in ("InternalIP", "ExternalIP") and _is_address(text)
    ]
    local = AddressSet.of(family, [LOOPBACK[family], *(item.address for item in addresses), *node_addresses])
    # An ExternalIP is often on a NAT gateway and not on the node: it is local only if nothing better is known.
    if addresses:
        local = AddressSet.of(family, [LOOPBACK[family], *(item.address for item in addresses)])
    own = AddressSet.of(
        family,
        [
            item.address
            for item in addresses
            if not item.address.is_loopback
            and not item.address.is_link_local
            and not _named(item.interface, SERVICE_INTERFACES)
        ]
        or node_addresses,
    )
    primaries: dict[str, Address] = {}
    for item in addresses:
        if not item.address.is_link_local:
            primaries.setdefault(item.interface, item.address)
    routes = _sorted_routes(family, host)
    pod_addresses = _pod_addresses(family, node, pods) - local
    bridges = frozenset(
        item.name for item in host.interfaces or () if item.kind == "bridge" or _named(item.name, BRIDGE_NAMES)
    )
    call = host.sysctls.get(
        "net.bridge.bridge-nf-call-iptables" if family is Family.IPV4 else "net.bridge.bridge-nf-call-ip6tables"
    )
    everyone = AddressSet.everything(family) - AddressSet.of(family, (*NO_SOURCE[family], *service_ranges))
    outside = everyone - local - pod_addresses
    pod_clients = _by_interface(pod_addresses, routes)
    pod_interfaces = {name for clients in pod_clients for name in clients.interfaces or ()}
    down = {item.name for item in host.interfaces or () if not item.up}
    external = tuple(
        clients
        for clients in _by_interface(outside, routes)
        if clients.interfaces is None
        or not any(
            name == "lo"
            or name in down
            or name in pod_interfaces - _default_interfaces(routes)
            or _named(name, (*HOST_BRIDGES, *SERVICE_INTERFACES))
            for name in clients.interfaces
        )
    )
    return NodeNetwork(
        family=family,
        local=local,
        local_known=bool(addresses),
        own=own,
        routes=routes,
        bridges=bridges,
        bridge_netfilter=call != "0",
        pods=pod_addresses,
        pod_clients=_merge_many(pod_clients),
        external_clients=_merge_many(external),
        primaries=primaries,
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _pod_addresses(family: Family, node: Node | None, pods: Iterable[Pod]) -> AddressSet:
    running = AddressSet.of(
        family,
        [address for pod in pods if not pod.host_network and not pod.terminated for address in pod.ips],
    )
    ranges = AddressSet.of(family, node.pod_cidrs if node else ())
    # Calico and the VPC CNIs ignore spec.podCIDR: where pods run and none is inside, the range means nothing.
    if running and not (running & ranges):
        return running
    return running | ranges


def _sorted_routes(family: Family, host: HostFacts) -> tuple[Route, ...] | None:
    if host.routes is None:
        return None
    mine = [route for route in host.routes if family_of(route.network) is family]
    return tuple(sorted(mine, key=lambda route: (-route.network.prefixlen, route.metric)))


def _default_interfaces(routes: tuple[Route, ...] | None) -> set[str]:
    return {route.interface for route in routes or () if route.network.prefixlen == 0 and route.interface}


def _by_interface(addresses: AddressSet, routes: tuple[Route, ...] | None) -> tuple[ClientSet, ...]:
    """Clients come in by the interface that leads back to them (what rp_filter enforces)."""
    if not addresses:
        return ()
    if not routes:
        return (ClientSet(addresses=addresses, interfaces=None),)
    found: dict[str, AddressSet] = {}
    rest = addresses
    for route in routes:
        part = rest & AddressSet.of(addresses.family, (route.network,))
        if not part:
            continue
        rest = rest - part
        if route.interface and route.type == "unicast":
            found[route.interface] = found.get(route.interface, AddressSet.nothing(addresses.family)) | part
        if not rest:
            break
    return tuple(ClientSet(addresses=part, interfaces=frozenset({name})) for name, part in sorted(found.items()))


def _merge_many(clients: tuple[ClientSet, ...]) -> tuple[ClientSet, ...]:
    """One interface per pod (Calico) would mean one walk per pod: judge them as one set."""
    if len(clients) <= MANY_INTERFACES:
        return clients
    merged = clients[0].addresses
    names: set[str] = set()
    for item in clients:
        merged = merged | item.addresses
        names |= item.interfaces or set()
    return (ClientSet(addresses=merged, interfaces=frozenset(names)),)
