"""The data plane that a correct kube-proxy makes on one node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from kdiag.expect.behaviour import Outcomes, distinct, expected_cases
from kdiag.expect.endpoints import Candidates, candidates_of
from kdiag.expect.frontends import ServiceAddress, addresses_of, is_served, node_port_addresses
from kdiag.expect.selection import ProxyRules, Selection, select
from kdiag.expect.situation import LocalDetector, Situation
from kdiag.model.addresses import Family, Protocol, family_of
from kdiag.model.cluster import ClusterState, Node, Service, ServicePort
from kdiag.model.dataplane import (
    NODE_PORT,
    Behaviour,
    Case,
    ClientSet,
    DataPlane,
    Frontend,
    FrontendKind,
    Position,
    ServicePortKey,
)
from kdiag.model.host import HostFacts
from kdiag.model.objects import ObjectKey
from kdiag.model.proxy import DetectLocalMode, ProxyConfig, ProxyMode, Version
from kdiag.walk.network import NodeNetwork

# What is assumed of a proxy whose release nothing tells: the newest one that was read.
NEWEST: Version = (1, 37)


class NodeContext(Struct, frozen=True, kw_only=True):
    """What is known of one node when its data plane is worked out.

    `config` is the configuration that the cluster's kube-proxies ought to have; `networks` holds one entry per family
    that the node has.
    """

    node_name: str
    node: Node | None
    host: HostFacts
    config: ProxyConfig | None
    version: Version | None
    networks: Mapping[Family, NodeNetwork]
    mode: ProxyMode = ProxyMode.IPTABLES

    @property
    def rules(self) -> ProxyRules:
        """Release, gates and node, as the endpoint choice needs them."""
        return ProxyRules(
            version=self.version or NEWEST,
            gates=self.config.feature_gates if self.config else {},
            node_name=self.node_name,
            node=self.node,
            mode=self.mode,
        )


def detector_of(family: Family, context: NodeContext) -> LocalDetector:
    """The local detector of one family (detectLocalMode; ClusterCIDR by default, a no-op without a range)."""
    config = context.config
    if config is None:
        return LocalDetector()
    match config.detect_local_mode or DetectLocalMode.CLUSTER_CIDR:
        case DetectLocalMode.CLUSTER_CIDR:
            return LocalDetector(network=config.cluster_cidr(family))
        case DetectLocalMode.NODE_CIDR:
            ranges = context.node.pod_cidrs if context.node else ()
            return LocalDetector(network=next((item for item in ranges if family_of(item) is family), None))
        case DetectLocalMode.BRIDGE_INTERFACE:
            return LocalDetector(interface=config.bridge_interface)
        case DetectLocalMode.INTERFACE_NAME_PREFIX:
            prefix = config.interface_name_prefix
            return LocalDetector(interface=f"{prefix}+" if prefix else None)


Spot = tuple[int | None, Protocol, int]
"""An address as a number (None: the node's own, for NodePorts), protocol and port."""


class LeftOut(Struct, frozen=True):
    """What nobody asks about: addresses, and the Services all of whose addresses are among these."""

    spots: frozenset[Spot] = frozenset()
    services: frozenset[ObjectKey] = frozenset()


def expected_data_plane(
    cluster: ClusterState, context: NodeContext, without: Mapping[Family, LeftOut] | None = None
) -> DataPlane:
    """What packets to every Service address ought to meet on the node.

    Two Services that claim one address (a fault of its own) leave it to the first of them by name. `without` is what to
    leave out.
    """
    behaviours: dict[Frontend, Behaviour] = {}
    for family, network in context.networks.items():
        rules = context.rules
        at = node_port_addresses(family, network, context.host, context.config, rules)
        left_out = (without or {}).get(family) or LeftOut()
        offered: list[tuple[Service, ServicePort, tuple[ServiceAddress, ...]]] = []
        for service in cluster.services:
            if service.key in left_out.services or not is_served(service):
                continue
            for service_port in service.ports:
                if context.mode is ProxyMode.USERSPACE and service_port.protocol is Protocol.SCTP:
                    continue  # The proxy process speaks TCP and UDP only.
                targets = addresses_of(service, service_port, family, rules, at)
                if left_out.spots:
                    spots = left_out.spots
                    targets = tuple([item for item in targets if spot_of(item, service_port.protocol) not in spots])
                if targets:
                    offered.append((service, service_port, targets))
        offered.sort(key=lambda item: item[0].key)
        for service, service_port, targets in offered:
            selections = distinct(
                [
                    select(candidates, service, known)
                    for candidates in candidates_of(
                        cluster, service, service_port, family, rules.version, context.node_name
                    )
                    for known in zones_of(rules, candidates)
                ]
            )
            for frontend, behaviour in _behaviours(selections, context, family, service, service_port, targets):
                behaviours.setdefault(frontend, behaviour)
    return DataPlane(node=context.node_name, behaviours=behaviours)


def _behaviours(
    selections: Sequence[Selection],
    context: NodeContext,
    family: Family,
    service: Service,
    service_port: ServicePort,
    targets: Iterable[ServiceAddress],
) -> Iterator[tuple[Frontend, Behaviour]]:
    """What packets to some addresses of a Service port ought to meet, from each position that has clients, if these are its
    endpoints (contradictory slices: one of these)."""
    network = context.networks[family]
    rules, detector = context.rules, detector_of(family, context)
    key = _key_of(service, service_port)
    outcomes = Outcomes(network)
    masquerade_all = bool(context.config and context.config.masquerade_all)
    found: dict[tuple[object, ...], tuple[Case, ...]] = {}
    for frontend, target, clients in frontends_of(network, service_port.protocol, targets):
        is_local = target.address in network.local
        # At a NodePort it is the same whichever of the node's addresses packets are sent to.
        address = None if target.kind is FrontendKind.NODE_PORT else target.address
        place = (target.kind, address, is_local, frontend.position, clients)
        if place not in found:
            situations = [
                Situation(
                    service=service,
                    target=target,
                    position=frontend.position,
                    selection=selection,
                    rules=rules,
                    detector=detector,
                    masquerade_all=masquerade_all,
                    target_is_local=is_local,
                )
                for selection in selections
            ]
            found[place] = expected_cases(situations, clients, outcomes)
        yield frontend, Behaviour(cases=found[place], service_port=key)


def frontends_of(
    network: NodeNetwork, protocol: Protocol, targets: Iterable[ServiceAddress]
) -> Iterator[tuple[Frontend, ServiceAddress, tuple[ClientSet, ...]]]:
    """The frontends of a Service port at some addresses, one for each position that has clients, and these."""
    for target in targets:
        for position in Position:
            if target.address.is_loopback and position is not Position.NODE:
                continue
            clients = network.clients(position, target.address)
            if clients:
                frontend = Frontend(
                    address=target.address, protocol=protocol, port=target.port, kind=target.kind, position=position
                )
                yield frontend, target, clients


def spot_of(target: ServiceAddress, protocol: Protocol) -> Spot:
    """Where a Service port is offered."""
    return (None if target.kind is NODE_PORT else int(target.address), protocol, target.port)


def spot_of_frontend(frontend: Frontend) -> Spot:
    """Where a frontend is offered."""
    address = None if frontend.kind is NODE_PORT else int(frontend.address)
    return (address, frontend.protocol, frontend.port)


def _key_of(service: Service, service_port: ServicePort) -> ServicePortKey:
    return ServicePortKey(service=service.key, port_name=service_port.name, protocol=service_port.protocol)


def zones_of(rules: ProxyRules, candidates: Candidates) -> tuple[ProxyRules, ...]:
    """Where the Node object was not read its zone is not known: it may be any that a hint names, or none."""
    if rules.node is not None:
        return (rules,)
    zones = sorted({zone for candidate in candidates for zone in candidate.zone_hints})
    return (rules, *(replace(rules, assumed_zone=zone) for zone in zones))
