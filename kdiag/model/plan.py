"""What is to be applied to a cluster and is not there yet."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from kdiag.model.addresses import Network
from kdiag.model.cluster import Pod, Service, ServiceCidr
from kdiag.model.endpoints import EndpointSlice, LegacyEndpoints
from kdiag.model.objects import ObjectKey

PLANNED_PHASE = "Planned"
"""`Pod.phase` of a pod that a manifest describes: it does not run, has no address, and is ready once it is there."""


class Place(Struct, frozen=True, kw_only=True, order=True):
    """Where an object stands: the file as it was named, and the line (1-based, 0: the whole file)."""

    source: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


class Refusal(Struct, frozen=True, kw_only=True):
    """Something of a manifest that the API server would refuse: whose, where, and why, in one sentence without a stop."""

    kind: str
    key: ObjectKey
    place: Place
    reason: str


class PlannedRange(Struct, frozen=True, kw_only=True):
    """A range of addresses that is to be used, and what says so: an option (`--pod-cidr`)."""

    network: Network
    stated_by: str


class Plan(Struct, frozen=True, kw_only=True):
    """The objects of manifests, and ranges.

    `pods` are those of the manifests and one for each workload (its template). `places` is by kind (`Service`) and key.
    `ignored` counts the objects of kinds that have no part in the way of packets, by kind.
    """

    services: tuple[Service, ...] = ()
    slices: tuple[EndpointSlice, ...] = ()
    endpoints: tuple[LegacyEndpoints, ...] = ()
    service_cidrs: tuple[ServiceCidr, ...] = ()
    pods: tuple[Pod, ...] = ()
    pod_ranges: tuple[PlannedRange, ...] = ()
    service_ranges: tuple[PlannedRange, ...] = ()
    node_ranges: tuple[PlannedRange, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    places: Mapping[tuple[str, ObjectKey], Place] = field(default_factory=dict)
    ignored: Mapping[str, int] = field(default_factory=dict)

    @property
    def has_objects(self) -> bool:
        """Whether there is anything but ranges in it."""
        return bool(self.places)
