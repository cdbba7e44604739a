"""Networks that a node reaches without the cluster: bridges of other programs, its own links, routes to elsewhere."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator

from msgspec import Struct

from kdiag.checks.addressing import connected_network, contains, node_addresses, overlap
from kdiag.model.addresses import Address, Network
from kdiag.model.host import Route
from kdiag.model.view import NodeView, View

_BRIDGE = re.compile(
    r"^(?:docker\d+|docker_gwbridge|br-[0-9a-f]{12}|virbr\d+|lxcbr\d+|lxdbr\d+|incusbr\d+|(?:cni-)?podman\d+|nerdctl\d+)$"
)
"""Bridges that container and virtual-machine managers make beside Kubernetes."""

_CLUSTER = re.compile(
    r"^(?:lo$|cni|cbr\d|flannel|cali|tunl|vxlan[.-]|wireguard\.cali|wg-v6\.cali|bpf|cilium|lxc[0-9a-f_]|veth|weave|vethwe"
    r"|datapath|kube-|dummy|nodelocaldns|antrea|gre|genev|ovn|ovs|br-int|br-ex|breth|eni|azv|azure|gke|ipvl|macv|vpc|pimreg"
    r"|ip6tnl|sit\d|tun0$|teql|erspan|kube)"
)
"""Interfaces of CNIs, of kube-proxy (kube-ipvs0) and of the kernel."""


class HostNetworkKind(enum.Enum):
    """Why a node has a route of its own to a network."""

    BRIDGE = "bridge"
    LINK = "link"
    ROUTE = "route"


class HostNetwork(Struct, frozen=True, kw_only=True):
    """A network that a node reaches on its own account.

    `in_use` is False for a bridge without a running port, `up` for one that is switched off. `text` is the line of the
    node's output in words, `probe` where it stands (as in HostFacts.sources).
    """

    node: str
    kind: HostNetworkKind
    network: Network
    interface: str
    text: str
    probe: str
    gateway: Address | None = None
    up: bool = True
    in_use: bool = True


def host_networks(view: View) -> Iterator[HostNetwork]:
    """What the nodes reach without the cluster's doing, by node.

    Left out: interfaces of CNIs and kube-proxy; a bridge that serves the pods of its node (Docker's, with kubenet or
    an old flannel); routes that a routing daemon or a CNI made, that lead to another node, or to the pods of one.
    """
    cluster_gateways = {address for node in view.cluster.nodes for _, address in node_addresses(node)}
    for node in sorted(view.nodes, key=lambda item: item.name):
        yield from _bridges(view, node)
        yield from _links(view, node)
        for route in node.host.routes or ():
            if _is_foreign(route, cluster_gateways):
                yield HostNetwork(
                    node=node.name,
                    kind=HostNetworkKind.ROUTE,
                    network=route.network,
                    interface=route.interface or "",
                    gateway=route.gateway,
                    text=f"{route.network} via {route.gateway} dev {route.interface}",
                    probe="routes" if route.network.version == 4 else "routes_ipv6",
                )


def _bridges(view: View, node: NodeView) -> Iterator[HostNetwork]:
    pods = [pod for pod in view.cluster.pods_by_node.get(node.name, ()) if not pod.host_network and not pod.terminated]
    own_ranges = node.node.pod_cidrs if node.node is not None else ()
    for item in node.host.addresses or ():
        network = connected_network(item)
        if not _BRIDGE.match(item.interface) or network is None or item.address.is_link_local:
            continue
        if any(overlap(network, own) for own in own_ranges) or any(
            address in network for pod in pods for address in pod.ips
        ):
            continue
        yield HostNetwork(
            node=node.name,
            kind=HostNetworkKind.BRIDGE,
            network=network,
            interface=item.interface,
            text=f"{item.interface} has {item.address}/{item.prefix_length}"
            + ("" if item.running else ", without carrier"),
            probe="addresses",
            up=item.up,
            in_use=item.up and item.running,
        )


def _links(view: View, node: NodeView) -> Iterator[HostNetwork]:
    own = {address for _, address in node_addresses(node.node)} if node.node is not None else set()
    pods = [pod for pod in view.cluster.pods_by_node.get(node.name, ()) if not pod.host_network and not pod.terminated]
    for item in node.host.addresses or ():
        network = connected_network(item)
        if network is None or not item.up or item.address.is_link_local or item.address.is_loopback:
            continue
        if _BRIDGE.match(item.interface) or _CLUSTER.match(item.interface):
            continue
        # A link that is not the node's own and has pods of the node on it belongs to the CNI, whatever its name.
        if item.address not in own and any(contains_address(network, address) for pod in pods for address in pod.ips):
            continue
        yield HostNetwork(
            node=node.name,
            kind=HostNetworkKind.LINK,
            network=network,
            interface=item.interface,
            text=f"{item.interface} has {item.address}/{item.prefix_length}",
            probe="addresses",
        )


def _is_foreign(route: Route, cluster_gateways: set[Address]) -> bool:
    """True for a route to a network behind a router that somebody entered by hand, DHCP or a VPN."""
    if route.type != "unicast" or route.gateway is None or route.network.prefixlen == 0:
        return False
    if route.interface is None or _CLUSTER.match(route.interface) or _BRIDGE.match(route.interface):
        return False
    if (
        route.gateway.is_link_local
        or route.gateway in cluster_gateways
        or contains_address(route.network, route.gateway)
    ):
        return False
    return route.protocol in (None, "static", "boot", "dhcp", "ra", "kernel")


def contains_address(network: Network, address: Address) -> bool:
    """True if the address lies in the network (an address of the other family never does)."""
    return network.version == address.version and address in network


def is_inside(inner: Network, outer: Network) -> bool:
    """True if `inner` is a part of `outer` and not all of it."""
    return inner != outer and contains(outer, inner)
