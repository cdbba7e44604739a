"""What may be judged when the API was not read in full.

A Service that could not be decoded must not turn its rules into left-overs, and a slice that is missing must not turn
its endpoints into stale ones: what hangs on them is set aside, and said.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from msgspec import Struct

from kdiag.model.cluster import ClusterState
from kdiag.model.dataplane import DataPlane
from kdiag.model.endpoints import EndpointSlice, LazyEndpoints
from kdiag.model.objects import ObjectKey
from kdiag.model.proxy import Version

NAMELESS = ObjectKey(namespace="", name="")


class Trust(Struct, frozen=True, kw_only=True):
    """`refusal` says why nothing can be judged, None if something can. `doubtful` are Services to set aside;
    `knows_all_services` is False if an address that no Service has may still belong to one."""

    refusal: str | None
    doubtful: frozenset[ObjectKey]
    knows_all_services: bool

    def expectation(self, plane: DataPlane) -> DataPlane:
        """An expectation without the doubtful Services."""
        if not self.doubtful:
            return plane
        return DataPlane(
            node=plane.node,
            behaviours={
                frontend: item
                for frontend, item in plane.behaviours.items()
                if item.service_port is None or item.service_port.service not in self.doubtful
            },
        )

    def reality(self, actual: DataPlane, expected: DataPlane) -> DataPlane:
        """What the rules do, without what may belong to a Service that could not be read."""
        if not self.doubtful and self.knows_all_services:
            return actual
        return DataPlane(
            node=actual.node,
            behaviours={
                frontend: item
                for frontend, item in actual.behaviours.items()
                if frontend in expected.behaviours
                or (
                    self.knows_all_services
                    and (item.service_port is None or item.service_port.service not in self.doubtful)
                )
            },
        )


def trust_in(*readings: ClusterState, version: Version | None = None) -> Trust:
    """How far readings of the API may be believed together, for a proxy of this release.

    Up to 1.18 a proxy reads Endpoints objects. Later ones read slices, which may have been written by hand and hold
    conditions and hints that Endpoints lack: without the slices nothing can be said about them.
    """
    refusal: str | None = None
    doubtful: set[ObjectKey] = set()
    knows_all_services = True
    for cluster in readings:
        if "services" not in cluster.seen:
            refusal = "the list of Services is missing or incomplete: nothing can be expected of the rules"
        elif "endpointslices" not in cluster.seen and not (
            "endpoints" in cluster.seen and version is not None and version <= (1, 18)
        ):
            refusal = "the list of EndpointSlices is missing or incomplete: nothing can be expected of the rules"
        unread_slices = cluster.unread.get("endpointslices", frozenset())
        if NAMELESS in unread_slices:
            refusal = "an EndpointSlice without a readable name could not be decoded: it may belong to any Service"
        unread_services = cluster.unread.get("services", frozenset())
        if NAMELESS in unread_services:
            knows_all_services = False
        doubtful |= unread_services - {NAMELESS}
        doubtful |= {
            key for unread in unread_slices for key in services_named_like(unread) if key in cluster.service_by_key
        }
    return Trust(refusal=refusal, doubtful=frozenset(doubtful), knows_all_services=knows_all_services)


def services_named_like(key: ObjectKey) -> Iterator[ObjectKey]:
    """The Services that a slice of this name may be of: it is named after its Service, `web-x7k2p` or `kubernetes` itself."""
    name = key.name
    while name:
        yield ObjectKey(namespace=key.namespace, name=name)
        name = name.rpartition("-")[0]


def endpoints_are_sound(cluster: ClusterState, services: AbstractSet[ObjectKey] | None) -> bool:
    """Whether all slices that may be those of these Services (None: of any) have endpoints that can be decoded, as far as
    these are read when somebody asks for them."""
    namespaces = {key.namespace for key in services or ()}

    def may_be_asked_for(item: EndpointSlice) -> bool:
        if services is None or item.service in services:
            return True
        return item.meta.key.namespace in namespaces and any(
            key in services for key in services_named_like(item.meta.key)
        )

    return all(
        item.endpoints.are_sound
        for item in cluster.slices
        if isinstance(item.endpoints, LazyEndpoints) and may_be_asked_for(item)
    )
