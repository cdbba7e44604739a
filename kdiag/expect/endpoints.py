"""From EndpointSlices to the endpoints of a Service port, as kube-proxy reads them.

Source: pkg/proxy/endpointslicecache.go of 1.19 to 1.30; differences between releases are named where they matter.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from math import prod

from msgspec import Struct

from kdiag.model.addresses import Address, Family, SocketAddress, family_of, socket_address
from kdiag.model.cluster import ClusterState, Service, ServicePort
from kdiag.model.endpoints import Endpoint, EndpointSlice
from kdiag.model.proxy import Version

# With more ways than this to settle the contradictions of one Service port, nothing is expected of it.
MAX_WAYS = 256


class Candidate(Struct, frozen=True, kw_only=True):
    """One endpoint of a Service port. Conditions have their defaults filled in."""

    at: SocketAddress
    ready: bool
    serving: bool
    terminating: bool
    node_name: str | None
    zone_hints: frozenset[str]
    node_hints: frozenset[str]

    @staticmethod
    def ready_at(place: SocketAddress) -> Candidate:
        """An endpoint of which no more is known than that it is ready."""
        return Candidate(
            at=place,
            ready=True,
            serving=True,
            terminating=False,
            node_name=None,
            zone_hints=frozenset(),
            node_hints=frozenset(),
        )

    @property
    def last_resort(self) -> bool:
        """Serving while terminating: used when nothing is ready (from 1.26 by default)."""
        return self.serving and self.terminating

    @property
    def bearing(self) -> tuple[object, ...]:
        """Everything that decides whether the endpoint is used, but for the node that it is on."""
        return (self.at, self.ready, self.last_resort, self.zone_hints, self.node_hints)


Candidates = tuple[Candidate, ...]


def candidates_of(
    cluster: ClusterState,
    service: Service,
    service_port: ServicePort,
    family: Family,
    version: Version,
    here: str | None = None,
) -> tuple[Candidates, ...]:
    """The endpoints of a Service port in one family, in address order, as the proxy of node `here` sees them.

    Usually one tuple. When slices contradict each other about an endpoint, kube-proxy keeps whichever it met first, so
    that healthy nodes differ: then every way to settle it is returned, and none where there are more than MAX_WAYS.
    Proxies up to 1.18 read Endpoints objects; later ones do so only where the cluster has no slices.
    """
    if version <= (1, 18) and "endpoints" in cluster.seen:
        # Slices were made by then, but read only from 1.19 on (gate EndpointSliceProxying).
        found = list(_from_legacy(cluster, service, service_port, family))
    else:
        slices = [
            item
            for item in cluster.slices_by_service.get(service.key, ())
            if item.family is family and not item.left_alone
        ]
        found = list(_from_slices(slices, service_port, version))
    # By address alone up to 1.21: of two ports of one address only one is kept.
    by_place: dict[object, dict[object, Candidate]] = {}
    for candidate in found:
        place = candidate.at.address if version <= (1, 21) else candidate.at
        versions = by_place.setdefault(place, {})
        # Of entries that differ in the node only, the one that names this node counts (addEndpoints: "favor a true
        # value here"); to other nodes it is all one.
        if candidate.bearing not in versions or candidate.node_name == here:
            versions[candidate.bearing] = candidate
    ways = [tuple(versions.values()) for versions in by_place.values()]
    if prod(len(versions) for versions in ways) > MAX_WAYS:
        return ()
    return tuple(tuple(sorted(way, key=lambda candidate: candidate.at)) for way in product(*ways))


def _from_slices(slices: Iterable[EndpointSlice], service_port: ServicePort, version: Version) -> Iterable[Candidate]:
    for item in slices:
        for port in item.ports:
            if port.port is None or port.name != service_port.name or port.protocol is not service_port.protocol:
                continue
            for endpoint in item.endpoints:
                yield _candidate(endpoint, port.port, version)


def _candidate(endpoint: Endpoint, port: int, version: Version) -> Candidate:
    ready = endpoint.ready is not False
    # Serving and terminating exist from 1.21 on; older proxies know ready only.
    serving = ready if endpoint.serving is None or version < (1, 21) else endpoint.serving
    terminating = bool(endpoint.terminating) and version >= (1, 21)
    return Candidate(
        at=socket_address(family_of(endpoint.address), int(endpoint.address), port),
        ready=ready,
        serving=serving,
        terminating=terminating,
        node_name=endpoint.node_name,
        zone_hints=frozenset(endpoint.zone_hints),
        node_hints=frozenset(endpoint.node_hints),
    )


def _from_legacy(
    cluster: ClusterState, service: Service, service_port: ServicePort, family: Family
) -> Iterable[Candidate]:
    for item in cluster.endpoints:
        if item.meta.key != service.key:
            continue
        for address, port_name, protocol, port in item.addresses:
            if port_name == service_port.name and protocol is service_port.protocol and family_of(address) is family:
                yield Candidate(
                    at=socket_address(family, int(address), port),
                    ready=True,
                    serving=True,
                    terminating=False,
                    node_name=_node_of(cluster, address),
                    zone_hints=frozenset(),
                    node_hints=frozenset(),
                )


def _node_of(cluster: ClusterState, address: Address) -> str | None:
    for pod in cluster.pods_by_address.get(address, ()):
        return pod.node_name
    return None
