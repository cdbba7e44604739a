"""The addresses at which a node offers a Service port."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from msgspec import Struct

from kdiag.expect.selection import ProxyRules
from kdiag.model.addresses import UNSPECIFIED, Address, Family, Network, address_at, family_of, parse_network
from kdiag.model.cluster import Service, ServicePort
from kdiag.model.dataplane import CLUSTER_IP, NODE_PORT, FrontendKind
from kdiag.model.host import HostFacts
from kdiag.model.proxy import ProxyConfig, ProxyMode
from kdiag.walk.network import NodeNetwork

IGNORED_LABELS = frozenset({"service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"})
LOCALHOST = ipaddress.IPv4Address("127.0.0.1")
ANYWHERE = UNSPECIFIED
"""Stands for all addresses at which NodePorts are open on a node, as it does for a socket."""


class ServiceAddress(Struct, frozen=True, kw_only=True, gc=False):
    """One address of a Service port. `source_ranges` restrict who may use it; empty means anybody."""

    kind: FrontendKind
    address: Address
    port: int
    source_ranges: tuple[Network, ...] = ()


def is_served(service: Service) -> bool:
    """False for what kube-proxy skips: headless, ExternalName, no address yet, another proxy's by label."""
    if service.headless or service.type == "ExternalName" or not service.cluster_ips:
        return False
    return IGNORED_LABELS.isdisjoint(service.meta.labels)


def addresses_of(
    service: Service,
    service_port: ServicePort,
    family: Family,
    rules: ProxyRules,
    node_ports_at: Iterable[Address],
) -> tuple[ServiceAddress, ...]:
    """Every address of a Service port in one family. A family without a ClusterIP has no address at all."""
    cluster_ips, kind, port = service.cluster_ips, CLUSTER_IP, service_port.port
    has_others = service.external_ips or service.ingress or service_port.node_port
    if len(cluster_ips) == 1 and not has_others and family_of(cluster_ips[0]) is family:
        return (ServiceAddress(kind=kind, address=cluster_ips[0], port=port),)  # As most in a large cluster.
    found = [
        ServiceAddress(kind=kind, address=address, port=port) for address in cluster_ips if family_of(address) is family
    ]
    if not found:
        return ()
    found += [
        ServiceAddress(kind=FrontendKind.EXTERNAL_IP, address=address, port=service_port.port)
        for address in service.external_ips
        if family_of(address) is family
    ]
    # `ipMode: Proxy` tells kube-proxy to leave the address alone (gate LoadBalancerIPMode, on from 1.30).
    skips_proxied = rules.gate("LoadBalancerIPMode", on_from=(1, 30)) and rules.version >= (1, 29)
    ranges = tuple(network for network in service.source_ranges if family_of(network) is family)
    found += [
        ServiceAddress(
            kind=FrontendKind.LOAD_BALANCER_IP, address=ingress.ip, port=service_port.port, source_ranges=ranges
        )
        for ingress in service.ingress
        if ingress.ip is not None
        and family_of(ingress.ip) is family
        and not (skips_proxied and ingress.ip_mode == "Proxy")
    ]
    if service_port.node_port:
        found += [
            ServiceAddress(kind=NODE_PORT, address=address, port=service_port.node_port) for address in node_ports_at
        ]
    return tuple(dict.fromkeys(found))


def node_port_addresses(
    family: Family, network: NodeNetwork, host: HostFacts, config: ProxyConfig | None, rules: ProxyRules
) -> tuple[Address, ...]:
    """The addresses of the node at which NodePorts are open.

    nodePortAddresses: CIDRs, or the words `primary` (the node's own InternalIPs, from 1.31) and `all`. A family of which
    it names no range is open everywhere, as if nothing were set (pkg/proxy/util/nodeport_addresses.go). In nftables mode
    nothing set means `primary` since 1.31.
    """
    chosen = config.node_port_addresses if config and config.node_port_addresses else ()
    if not chosen and rules.mode is ProxyMode.NFTABLES and rules.version >= (1, 31):
        chosen = ("primary",)
    own = [
        address_at(family, value) for low, high in network.own.ranges for value in range(low, min(high, low + 63) + 1)
    ]
    networks = [
        parsed for text in chosen if (parsed := parse_network(text)) is not None and family_of(parsed) is family
    ]
    if "primary" in chosen:
        internal = [
            parsed
            for kind, text in (rules.node.addresses if rules.node else ())
            if kind == "InternalIP" and (parsed := parse_network(text)) is not None
        ]
        networks += [item for item in internal if family_of(item) is family]
    everywhere = "all" in chosen or not networks or any(item.prefixlen == 0 for item in networks)
    if family is Family.IPV4 and rules.mode is ProxyMode.IPTABLES:
        # nftables mode refuses it; IPVS mode has virtual servers there in some releases, which is not asked for.
        own.append(LOCALHOST)
    open_at = [address for address in own if everywhere or any(address in item for item in networks)]
    # A loopback interface may have that address, too.
    return tuple(dict.fromkeys(item for item in open_at if item != LOCALHOST or _localhost_open(host, config, rules)))


def _localhost_open(host: HostFacts, config: ProxyConfig | None, rules: ProxyRules) -> bool:
    """NodePorts on 127.0.0.1 need route_localnet, which kube-proxy sets unless localhostNodePorts is off (from 1.26)."""
    if host.sysctls.get("net.ipv4.conf.all.route_localnet") != "1":
        return False
    return rules.version < (1, 26) or not config or config.localhost_node_ports is not False
