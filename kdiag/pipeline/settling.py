"""Which Services changed too lately for a proxy with normal lag to have followed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from kdiag.model.cluster import ClusterState
from kdiag.model.endpoints import EndpointSlice
from kdiag.model.host import HostFacts
from kdiag.model.objects import Metadata, ObjectKey

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


def followed_until(read_at: datetime | None, settle_s: float) -> datetime | None:
    """What changed later than this, `settle_s` seconds before a node was read, its proxy need not have followed then."""
    if read_at is None:
        return None
    try:
        return read_at - timedelta(seconds=settle_s)
    except OverflowError:  # A clock that is set to the year 1 is no reason to stop.
        return datetime.min.replace(tzinfo=UTC)


def changes_since(cluster: ClusterState, since: datetime | None) -> dict[ObjectKey, datetime]:
    """When each Service changed last that did, or one of its slices, after a moment (None: there is none that matters).

    The endpoint slice controller notes on each slice when the change happened that it followed last (RFC 3339), and the
    API server who changed an object when.
    """
    found: dict[ObjectKey, datetime] = {}
    if since is None:
        return found
    told: list[tuple[ObjectKey, Metadata, datetime | None]] = [(item.key, item.meta, None) for item in cluster.services]
    told += [(item.service, item.meta, item.changed_at) for item in cluster.slices if item.service is not None]
    for key, meta, followed in told:
        for at in (meta.created_at, meta.updated_at, followed):
            if at is not None and at > since:
                found[key] = max(at, found.get(key, at))
    return found


def moved_between(before: ClusterState, cluster: ClusterState) -> frozenset[ObjectKey]:
    """Services of which something was written between two readings, as far as the resource versions of the Service, its
    slices and its Endpoints tell: an endpoint that came and went leaves nothing else. Another uid is another object.
    """
    if before is cluster:
        return frozenset()
    earlier = before.written
    return frozenset(key for key, objects in cluster.written.items() if objects != earlier.get(key, objects))


def may_differ(before: ClusterState, cluster: ClusterState) -> frozenset[ObjectKey]:
    """Services of which two readings may say different things: that came or were written between them, or with an object of
    which no resource version tells that it was not. A recording may have been edited by hand: what it says counts, too."""
    if before is cluster:
        return frozenset()
    earlier = before.written
    return frozenset(
        key
        for key, objects in cluster.written.items()
        if objects != earlier.get(key)
        or not all(version for _, _, version in objects)
        or not _say_the_same(before, cluster, key)
    )


def _say_the_same(before: ClusterState, cluster: ClusterState, key: ObjectKey) -> bool:
    """True if two readings show a Service alike, and all of its endpoints as ready ones that are the same."""
    mine, others = before.slices_by_service.get(key, ()), cluster.slices_by_service.get(key, ())
    return (
        before.service_by_key[key] == cluster.service_by_key[key]
        and before.endpoints_by_service.get(key) == cluster.endpoints_by_service.get(key)
        and len(mine) == len(others)
        and all(map(_are_ready_alike, mine, others))
    )


def _are_ready_alike(item: EndpointSlice, other: EndpointSlice) -> bool:
    ready = item.ready
    return ready is not None and (item is other or (ready, item.ports) == (other.ready, other.ports))


def services_may_have_passed(before: ClusterState, cluster: ClusterState) -> bool:
    """True unless the two readings show that no Service was made and deleted between them.

    A list's resource version moves with whatever is written to the cluster's store, leases too: it can only tell that
    nothing was written at all.
    """
    if before is cluster:
        return False
    version = cluster.versions.get("services")
    return version is None or version != before.versions.get("services")


def young_services(cluster: ClusterState, read_at: datetime | None, settle_s: float) -> frozenset[ObjectKey]:
    """The young Services of one reading of the API; none without a time of reading."""
    return frozenset(changes_since(cluster, followed_until(read_at, settle_s)))
