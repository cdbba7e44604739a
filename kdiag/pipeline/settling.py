"""Which Services changed too lately for a proxy with normal lag to have followed."""

from __future__ import annotations

from datetime import datetime, timedelta

from kdiag.model.cluster import ClusterState, Metadata, ObjectKey
from kdiag.model.host import HostFacts
from kdiag.parse.host import parse_go_time

CHANGED_AT = "endpoints.kubernetes.io/last-change-trigger-time"


# A node's clock that is further off than this tells nothing about when the node was read.
TRUSTED_SKEW = timedelta(minutes=10)


def read_at(host: HostFacts, taken_at: datetime | None, *, two_readings: bool) -> datetime | None:
    """When a node was read, as far as that matters for what its proxy may have on its way; None if nothing can be.

    A healthy proxy's own answer has the time. Without one there is nobody on that node who follows the API, unless the
    API was read twice: then changes may have come between.
    """
    health = host.health
    answered = health.answered_at if health is not None and health.healthy is not False else None
    if not two_readings:
        return answered
    if answered is None or taken_at is None or abs(answered - taken_at) > TRUSTED_SKEW:
        return taken_at
    return min(answered, taken_at)


def young_at_single_reading(cluster: ClusterState, read_at: datetime | None, settle_s: float) -> frozenset[ObjectKey]:
    """The same where the API was read once. A cluster of which most is young was built or restored just before, and was
    read when that was done: its times tell nothing then."""
    young = young_services(cluster, read_at, settle_s)
    return frozenset() if len(young) * 2 > len(cluster.services) else young


def young_services(cluster: ClusterState, read_at: datetime | None, settle_s: float) -> frozenset[ObjectKey]:
    """Services that changed, or whose endpoints did, less than `settle_s` seconds before the nodes were read, or after.

    The endpoint slice controller notes on each slice when the change happened that it followed last (RFC 3339), and the
    API server who changed an object when. None of them without a time of reading.
    """
    if read_at is None:
        return frozenset()
    since = read_at - timedelta(seconds=settle_s)
    young = {service.key for service in cluster.services if _changed_since(service.meta, since)}
    for item in cluster.slices:
        if item.service is not None and _changed_since(item.meta, since):
            young.add(item.service)
    return frozenset(young)


def _changed_since(meta: Metadata, since: datetime) -> bool:
    noted = parse_go_time(meta.annotations.get(CHANGED_AT))
    return any(at is not None and at > since for at in (noted, meta.created_at, meta.updated_at))
