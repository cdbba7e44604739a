"""The API as it would be with a plan applied: what the API server and the controllers would fill in is assumed.

A Service without a cluster IP gets a free one, one with a selector gets a slice of the pods that match, those of
manifests among them. What is assumed is never told: `Assumed.real` takes it out again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from msgspec.structs import replace

from kdiag.checks.addressing import networks_of, outermost, service_range_facts
from kdiag.checks.service_endpoints import MIRROR_CONTROLLER, SLICE_CONTROLLER, declares, publishes_not_ready
from kdiag.model.addresses import Address, Family, Network, Protocol, address_at, family_of
from kdiag.model.cluster import ClusterState, Pod, Service, ServicePort
from kdiag.model.endpoints import Endpoint, EndpointSlice, LegacyEndpoints, SlicePort
from kdiag.model.facts import FactKind, Facts
from kdiag.model.objects import Metadata, ObjectKey
from kdiag.model.plan import PLANNED_PHASE, Plan

_BEYOND = {Family.IPV4: int(ip_address("198.18.0.1")), Family.IPV6: int(ip_address("2001:db8::1"))}
"""Where addresses are taken from that nobody has (RFC 2544 and RFC 3849): for pods, and Services of unknown ranges."""

_TRIES = 4096


@dataclass(frozen=True, kw_only=True)
class Assumed:
    """A cluster with a plan in it. `services` are the planned ones as they would be.

    `made_up` are the addresses that nobody has given out yet, `unplaced` the Services some of whose endpoints are pods
    that are not there.
    """

    cluster: ClusterState
    services: Mapping[ObjectKey, Service]
    made_up: frozenset[Address]
    unplaced: frozenset[ObjectKey]

    def real(self, frontend: str | None) -> str | None:
        """An address that clients use, None for one that was made up."""
        if frontend is None:
            return None
        return None if any(frontend.startswith((f"{item}:", f"[{item}]:")) for item in self.made_up) else frontend


def with_plan(cluster: ClusterState, plan: Plan, facts: Facts) -> Assumed:
    """The cluster with the plan applied, as `kubectl apply` would: objects of the same name are replaced."""
    pods = {pod.key: pod for pod in (*cluster.pods, *plan.pods)}
    givers = {family: _Giver(family, cluster, plan, facts) for family in Family}
    families = _families(cluster, facts)
    services: dict[ObjectKey, Service] = {}
    made_up: set[Address] = set()
    for planned in plan.services:
        service = _kept(planned, cluster.service_by_key.get(planned.key))
        if service.type != "ExternalName" and not service.headless and not service.cluster_ips:
            given = tuple(givers[family].next() for family in _wanted_families(service, families))
            made_up |= set(given)
            service = replace(service, cluster_ips=given)
        services[planned.key] = service
    everything = {**cluster.service_by_key, **services}
    state = replace(
        cluster,
        services=tuple(everything[key] for key in sorted(everything)),
        pods=tuple(pods[key] for key in sorted(pods)),
        endpoints=_replaced(cluster.endpoints, plan.endpoints),
        # Services of a plan that has any are known, and so are endpoints: there are no others.
        seen=cluster.seen | ({"services", "endpointslices", "pods"} if plan.has_objects else set()),
    )
    slices, unplaced = _slices(state, plan, services, families)
    return Assumed(
        cluster=replace(state, slices=slices),
        services=services,
        made_up=frozenset(made_up),
        unplaced=unplaced,
    )


def _kept(planned: Service, there: Service | None) -> Service:
    """What the API server keeps of the Service that is there where the manifest says nothing (patchAllocatedValues)."""
    if there is None or planned.type == "ExternalName" or planned.headless:
        return planned
    service = planned
    if not service.cluster_ips and there.type != "ExternalName":
        service = replace(service, cluster_ips=there.cluster_ips, ip_families=planned.ip_families or there.ip_families)
    if service.type in ("NodePort", "LoadBalancer"):
        known = {(port.port, port.protocol): port.node_port for port in there.ports}
        ports = tuple(
            replace(port, node_port=port.node_port or known.get((port.port, port.protocol))) for port in service.ports
        )
        service = replace(service, ports=ports)
    return replace(service, ingress=there.ingress)


def _families(cluster: ClusterState, facts: Facts) -> tuple[Family, ...]:
    """The families of the cluster's Services; IPv4 if nothing tells."""
    ranges = networks_of(service_range_facts(facts)) or facts.networks(FactKind.POD_RANGE)
    found = {family_of(network) for network in ranges}
    found |= {family_of(address) for service in cluster.services for address in service.cluster_ips}
    return tuple(family for family in Family if family in found) or (Family.IPV4,)


def _wanted_families(service: Service, families: tuple[Family, ...]) -> tuple[Family, ...]:
    """What the API server would give it; the cluster's first family unless the manifest says otherwise."""
    if service.ip_families:
        return service.ip_families
    dual = service.ip_family_policy in ("PreferDualStack", "RequireDualStack")
    return families if dual else families[:1]


class _Giver:
    """Gives out cluster IPs that nobody has, from the upper end of the Service ranges, as for dynamic assignment."""

    def __init__(self, family: Family, cluster: ClusterState, plan: Plan, facts: Facts) -> None:
        self._taken = {address for service in (*cluster.services, *plan.services) for address in service.cluster_ips}
        self._left = self._addresses(family, outermost(networks_of(service_range_facts(facts), family)))

    def next(self) -> Address:
        """The next free address. There is always one: beyond the ranges there is room without end."""
        return next(address for address in self._left if address not in self._taken)

    @staticmethod
    def _addresses(family: Family, ranges: Iterable[Network]) -> Iterator[Address]:
        for network in ranges:
            last = int(network.broadcast_address)
            for number in range(last - 1, max(int(network.network_address), last - _TRIES), -1):
                yield address_at(family, number)
        number = _BEYOND[family] + (1 << 16)
        while True:
            yield address_at(family, number)
            number += 1


def _replaced(there: tuple[LegacyEndpoints, ...], planned: tuple[LegacyEndpoints, ...]) -> tuple[LegacyEndpoints, ...]:
    merged = {item.meta.key: item for item in (*there, *planned)}
    return tuple(merged[key] for key in sorted(merged))


def _slices(
    state: ClusterState, plan: Plan, services: Mapping[ObjectKey, Service], families: tuple[Family, ...]
) -> tuple[tuple[EndpointSlice, ...], frozenset[ObjectKey]]:
    """Slices as the controllers would write them, and the Services with endpoints that have no place yet."""
    written = {item.meta.key: item for item in (*state.slices, *plan.slices)}
    kept: list[EndpointSlice] = []
    for key in sorted(written):
        item = written[key]
        if item.service not in services or item.managed_by not in (SLICE_CONTROLLER, MIRROR_CONTROLLER):
            kept.append(item)
    unplaced: set[ObjectKey] = set()
    numbers = {family: _BEYOND[family] for family in Family}
    addresses: dict[tuple[ObjectKey, Family], Address] = {}
    for key, service in services.items():
        if not service.selector:
            kept.extend(_mirrored(state.endpoints_by_service.get(key), service))
            continue
        pods = state.pods_selected_by(service)
        if any(pod.phase == PLANNED_PHASE for pod in pods):
            unplaced.add(key)
        for family in Family:
            for pod in pods:
                if pod.phase == PLANNED_PHASE and family in families and (pod.key, family) not in addresses:
                    addresses[pod.key, family] = address_at(family, numbers[family])
                    numbers[family] += 1
            kept.extend(_of_pods(service, pods, family, addresses))
    return tuple(sorted(kept, key=lambda item: item.meta.key)), frozenset(unplaced)


def _of_pods(
    service: Service, pods: Iterable[Pod], family: Family, addresses: Mapping[tuple[ObjectKey, Family], Address]
) -> Iterator[EndpointSlice]:
    """One slice for each set of target ports (the reconciler of pkg/controller/endpointslice)."""
    groups: dict[tuple[SlicePort, ...], list[Endpoint]] = {}
    for pod in sorted(pods, key=lambda pod: pod.key):
        own = next((item for item in pod.ips if family_of(item) is family), None)
        address = addresses.get((pod.key, family), own) if pod.phase == PLANNED_PHASE else own
        if pod.terminated or address is None:
            continue
        ports = tuple(_slice_port(port, pod) for port in service.ports if declares(pod, port))
        going = pod.meta.deleted_at is not None
        endpoint = Endpoint(
            address=address,
            address_text=str(address),
            ready=(pod.ready and not going) or publishes_not_ready(service),
            serving=pod.ready,
            terminating=going,
            node_name=pod.node_name,
            target_kind="Pod",
            target=pod.key,
        )
        groups.setdefault(ports, []).append(endpoint)
    for index, (ports, endpoints) in enumerate(groups.items()):
        yield _slice(service, family, index, ports, endpoints, SLICE_CONTROLLER)


def _slice_port(port: ServicePort, pod: Pod) -> SlicePort:
    number: int = port.port
    if isinstance(port.target_port, int):
        number = port.target_port
    elif isinstance(port.target_port, str):
        number = next(
            item.port
            for container in pod.containers
            for item in container.ports
            if item.name == port.target_port and item.protocol is port.protocol
        )
    return SlicePort(name=port.name, protocol=port.protocol, port=number)


def _mirrored(listed: LegacyEndpoints | None, service: Service) -> Iterator[EndpointSlice]:
    """What the mirroring controller makes of Endpoints that somebody wrote."""
    if listed is None:
        return
    for family in Family:
        ports: dict[tuple[str, Protocol, int], list[tuple[Address, bool]]] = {}
        for ready, entries in ((True, listed.addresses), (False, listed.not_ready_addresses)):
            for address, name, protocol, number in entries:
                if family_of(address) is family:
                    ports.setdefault((name, protocol, number), []).append((address, ready))
        for index, ((name, protocol, number), found) in enumerate(sorted(ports.items())):
            endpoints = [
                Endpoint(address=address, address_text=str(address), ready=ready, serving=ready)
                for address, ready in found
            ]
            port = SlicePort(name=name, protocol=protocol, port=number)
            yield _slice(service, family, index, (port,), endpoints, MIRROR_CONTROLLER)


def _slice(
    service: Service,
    family: Family,
    index: int,
    ports: tuple[SlicePort, ...],
    endpoints: Iterable[Endpoint],
    managed_by: str,
) -> EndpointSlice:
    name = f"{service.key.name}-planned-{family.value.lower()}-{index}"
    return EndpointSlice(
        meta=Metadata(key=ObjectKey(namespace=service.key.namespace, name=name)),
        service=service.key,
        address_type=family.value,
        endpoints=tuple(endpoints),
        ports=ports,
        managed_by=managed_by,
    )
