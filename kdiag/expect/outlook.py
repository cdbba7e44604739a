"""What decides what a Service port gets on a node, with its own addresses and endpoints set apart.

Two Service ports whose outlooks are `alike` for a kind of address ought to get the same at their addresses of this kind,
each from its own endpoints.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import product

from msgspec import Struct

from kdiag.expect.behaviour import ways
from kdiag.expect.dataplane import NodeContext, detector_of, zones_of
from kdiag.expect.endpoints import Candidate, candidates_of
from kdiag.expect.frontends import ANYWHERE, ServiceAddress, addresses_of, is_served, node_port_addresses
from kdiag.expect.places import NOWHERE, Places, overlap, places_in, places_of, some_of
from kdiag.expect.selection import Selection, select, uses_local_externally, uses_local_internally
from kdiag.expect.situation import Situation
from kdiag.model.addresses import Family, Protocol, SocketAddress, family_of
from kdiag.model.cluster import LOCAL_POLICY, ClusterState, Service, ServicePort
from kdiag.model.dataplane import FrontendKind, Position, ServicePortKey
from kdiag.model.endpoints import EndpointSlice

_NOT_YET = Places((), (), b"")


class Wanted(Struct, frozen=True):
    """What the clients of each position ought to get: `number` is one for all that get the same."""

    number: int
    tells_local: bool
    """True if a Local policy tells."""
    to_cluster: frozenset[tuple[Position, bool]]
    """Who is sent to the endpoints that Cluster policies use, masqueraded or not: a position, and True for its pods."""


class Outlook(Struct, frozen=True, gc=False):
    """One Service port in one family.

    `cluster` are the endpoints that Cluster policies use, `local` those that Local ones do (none where no policy of the
    Service is Local). `wants` is what ought to happen at the addresses of a kind, on the node or elsewhere (`True` if
    the address is the node's own); None if the port is not of one of the usual kinds. What is `everywhere` the same is one
    object for all nodes whose proxies go by the same rules: among `targets`, a NodePort is at ANYWHERE.
    """

    service_port: ServicePortKey
    protocol: bytes
    targets: tuple[ServiceAddress, ...]
    cluster: Places
    local: Places
    affinity_s: int | None
    wants: Mapping[tuple[FrontendKind, bool], Wanted] | None
    everywhere: bool = False

    def alike(self, kind: FrontendKind, *, is_local: bool) -> tuple[object, ...] | None:
        """All that decides what happens at an address of this kind, but for the protocol and the endpoints themselves."""
        if self.wants is None:
            return None
        wanted = self.wants[kind, is_local]
        has_several = len(self.cluster.addresses) > 1
        found = (wanted.number, self.affinity_s, bool(self.cluster.at), has_several)
        if wanted.tells_local:
            return (*found, min(len(self.local.addresses), 2), overlap(self.cluster, self.local))
        return found


Served = tuple[Service, ServicePort, ServicePortKey]


class _Shared(Struct):
    """What is the same on many nodes: what the clients at each kind of address ought to get, by what decides it; and the
    outlooks that hang on nothing of the node."""

    wants: dict[tuple[object, ...], Mapping[tuple[FrontendKind, bool], Wanted]]
    numbers: dict[tuple[object, ...], int]
    outlooks: dict[ServicePortKey, Outlook]
    others: list[Served] | None = None
    """The Service ports whose outlook does."""


class PlainEndpoints:
    """The endpoints of Service ports whose slices say nothing but where ready endpoints are, and on which node.

    That is the same for all nodes, so it is worked out once for a cluster.
    """

    def __init__(self, cluster: ClusterState) -> None:
        self.cluster = cluster
        self._known: dict[tuple[ServicePortKey, Family], Places | None] = {}
        self._nodes: dict[tuple[ServicePortKey, Family], list[str | None]] = {}
        self._shared: dict[tuple[object, ...], _Shared] = {}

    @cached_property
    def served(self) -> tuple[Served, ...]:
        """The Service ports that proxies serve."""
        return tuple(
            [
                (service, port, ServicePortKey(service=service.key, port_name=port.name, protocol=port.protocol))
                for service in self.cluster.services
                if is_served(service)
                for port in service.ports
            ]
        )

    @cached_property
    def node_ports(self) -> frozenset[tuple[Family, Protocol, int]]:
        """The NodePorts of all Services, in each family in which a Service has a ClusterIP."""
        return frozenset(
            (family_of(address), port.protocol, port.node_port)
            for service, port, _ in self.served
            if port.node_port
            for address in service.cluster_ips
        )

    def shared(self, context: NodeContext, family: Family, *, reads_slices: bool, node_ports: bool) -> _Shared:
        """What was worked out for nodes whose proxies go by the same rules, and that have NodePorts open or not."""
        rules = context.rules
        gates = tuple(sorted(rules.gates.items()))
        settings = (detector_of(family, context).works, bool(context.config and context.config.masquerade_all))
        return self._shared.setdefault(
            (family, rules.version, gates, rules.mode, *settings, reads_slices, node_ports), _Shared({}, {}, {})
        )

    def of(self, key: ServicePortKey, service_port: ServicePort, family: Family) -> Places | None:
        """The endpoints; None if there is more to them."""
        asked = (key, family)
        found = self._known.get(asked, _NOT_YET)
        if found is _NOT_YET:
            found = self._known[asked] = places_in(self._with_port(key, service_port, family), family)
        return found

    def near(self, key: ServicePortKey, service_port: ServicePort, family: Family, node: str) -> Places:
        """Those of them that are on a node."""
        places = self.of(key, service_port, family)
        if places is None:
            return NOWHERE
        asked = (key, family)
        if asked not in self._nodes:
            slices = self._with_port(key, service_port, family)
            # A name that is there a thousand times is held once.
            self._nodes[asked] = [name and sys.intern(name) for item, _ in slices for name in item.nodes]
        return some_of(places, [index for index, name in enumerate(self._nodes[asked]) if name == node], family)

    def _with_port(
        self, key: ServicePortKey, service_port: ServicePort, family: Family
    ) -> list[tuple[EndpointSlice, int]]:
        """The slices of a family that have the port, and its number in each, as often as it is there."""
        name, protocol = service_port.name, service_port.protocol
        found = []
        for item in self.cluster.slices_by_service.get(key.service, ()):
            if item.address_type == family and not item.left_alone:
                for port in item.ports:
                    if port.name == name and port.protocol is protocol and port.port is not None:
                        found.append((item, port.port))
        return found


class Outlooks:
    """The outlook of every Service port that a node ought to serve in a family.

    Without `endpoints` these are not looked up, and every outlook is of no usual kind.
    """

    def __init__(
        self,
        cluster: ClusterState,
        context: NodeContext,
        family: Family,
        plain: PlainEndpoints,
        *,
        endpoints: bool = True,
    ) -> None:
        self._cluster = cluster
        self._context = context
        self._family = family
        self._plain = plain
        self._rules = context.rules
        self.node_ports_at = node_port_addresses(
            family, context.networks[family], context.host, context.config, self._rules
        )
        """The addresses at which NodePorts are open on the node."""
        self._node_ports = (ANYWHERE[family],) if self.node_ports_at else ()
        reads_slices = self._rules.version > (1, 18) or "endpoints" not in cluster.seen
        self._reads = endpoints and reads_slices
        self._shared = plain.shared(context, family, reads_slices=self._reads, node_ports=bool(self.node_ports_at))

    @property
    def everywhere(self) -> Mapping[ServicePortKey, Outlook]:
        """Those that are the same on all nodes whose proxies go by the same rules, as far as they were asked for: the same
        object on all of these."""
        return self._shared.outlooks

    def __iter__(self) -> Iterator[Outlook]:
        for service, service_port, key in self._plain.served:
            found = self._shared.outlooks.get(key) or self._of(service, service_port, key)
            if found is not None:
                yield found

    def others(self) -> Iterator[Outlook]:
        """All but those that are the same everywhere, where all of them were asked for before."""
        if self._shared.others is None:
            self._shared.others = [served for served in self._plain.served if served[2] not in self._shared.outlooks]
        for service, service_port, key in self._shared.others:
            found = self._of(service, service_port, key)
            if found is not None:
                yield found

    def _of(self, service: Service, service_port: ServicePort, key: ServicePortKey) -> Outlook | None:
        """The outlook of a Service port; None if it is not offered."""
        targets = addresses_of(service, service_port, self._family, self._rules, self._node_ports)
        if not targets:
            return None
        is_local = service.internal_policy is LOCAL_POLICY or service.external_policy is LOCAL_POLICY
        found = None
        if self._reads and not service.source_ranges:
            found = self._selected(service, service_port, key, is_local=is_local)
        chosen, near, has_any, is_plain = found or (NOWHERE, NOWHERE, False, False)
        outlook = Outlook(
            service_port=key,
            protocol=_SPELLED[service_port.protocol],
            targets=targets,
            cluster=chosen,
            local=near,
            affinity_s=service.affinity_s,
            wants=self._wants(service, bool(chosen.at), bool(near.at), has_any) if found is not None else None,
            everywhere=is_plain and not is_local,
        )
        if outlook.everywhere:
            self._shared.outlooks[key] = outlook
        return outlook

    def _selected(
        self, service: Service, service_port: ServicePort, key: ServicePortKey, *, is_local: bool
    ) -> tuple[Places, Places, bool, bool] | None:
        """The endpoints for Cluster and for Local policies, whether any is usable, and whether they are the same on all nodes
        but for where they are; None if there are several answers. `is_local` tells whether a policy is Local."""
        family = self._family
        known = self._plain.of(key, service_port, family)
        if known is not None and not is_local:
            return known, NOWHERE, bool(known.at), True
        rules, node_name = self._rules, self._context.node_name
        inside = is_local and uses_local_internally(service, rules)
        wants_local = inside or (is_local and uses_local_externally(service, rules.version))
        if known is not None and not (inside and rules.version <= (1, 23)):
            near = self._plain.near(key, service_port, family, node_name) if wants_local else NOWHERE
            return known, near, bool(known.at), True
        selections: set[Selection] = set()
        for candidates in candidates_of(self._cluster, service, service_port, family, rules.version, node_name):
            selections |= {select(candidates, service, zone) for zone in zones_of(rules, candidates)}
        if len(selections) != 1:
            return None
        selection = selections.pop()
        near = places_of(selection.local) if wants_local else NOWHERE
        return places_of(selection.cluster), near, selection.has_any, False

    def _wants(
        self, service: Service, some: bool, some_near: bool, has_any: bool
    ) -> Mapping[tuple[FrontendKind, bool], Wanted]:
        policies = (service.type, service.internal_policy, service.external_policy, bool(service.external_ips))
        asked = (policies, some, some_near, has_any)
        wants = self._shared.wants.get(asked)
        if wants is None:
            wants = _wants(service, self._context, self._family, self._shared.numbers, some, some_near, has_any)
            self._shared.wants[asked] = wants
        return wants


_SPELLED = {protocol: protocol.lower().encode() for protocol in Protocol}
"""Protocols as rules have them."""


_CLUSTER, _LOCAL = "cluster", "local"


def _wants(
    service: Service,
    context: NodeContext,
    family: Family,
    numbers: dict[tuple[object, ...], int],
    some: bool,
    some_near: bool,
    has_any: bool,
) -> Mapping[tuple[FrontendKind, bool], Wanted]:
    """What ought to happen at each kind of address of a Service, with names for its endpoints; `numbers` are given out."""
    anywhere = SocketAddress(context.networks[family].local.first(), 1)
    one = Candidate.ready_at(anywhere)
    selection = Selection(cluster=(one,) * some, local=(one, one) * some_near, has_any=has_any)
    detector = detector_of(family, context)
    found = {}
    for kind, is_local in product(FrontendKind, (True, False)):
        wanted: list[object] = []
        to_cluster: list[tuple[Position, bool]] = []
        for position, is_pod in product(Position, (True, False)):
            situation = Situation(
                service=service,
                target=ServiceAddress(kind=kind, address=anywhere.address, port=1),
                position=position,
                selection=selection,
                rules=context.rules,
                detector=detector,
                masquerade_all=bool(context.config and context.config.masquerade_all),
                target_is_local=is_local,
            )
            legal = ways(situation, is_pod=is_pod, in_ranges=True)
            if some and all(way.endpoints == selection.cluster for way in legal):
                to_cluster.append((position, is_pod))
            for way in legal:
                if way.endpoints:
                    wanted.append(_LOCAL if way.endpoints == selection.local else _CLUSTER)
                wanted += [position, is_pod, way.disposition, way.masquerade, way.to_proxy]
        number = numbers.setdefault(tuple(wanted), len(numbers))
        found[kind, is_local] = Wanted(number, _LOCAL in wanted, frozenset(to_cluster))
    return found
