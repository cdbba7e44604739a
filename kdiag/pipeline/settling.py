"""Which Services changed too lately for a proxy with normal lag to have followed."""

from __future__ import annotations

from datetime import datetime, timedelta

from kdiag.model.cluster import ClusterState, ObjectKey
from kdiag.parse.host import parse_go_time

CHANGED_AT = "endpoints.kubernetes.io/last-change-trigger-time"


def young_services(cluster: ClusterState, read_at: datetime | None, settle_s: float) -> frozenset[ObjectKey]:
    """Services created, or whose endpoints changed, less than `settle_s` seconds before the nodes were read.

    The endpoint slice controller notes on each slice when the change happened that it followed last (RFC 3339). None of
    them without a time of reading.
    """
    if read_at is None:
        return frozenset()
    since = read_at - timedelta(seconds=settle_s)
    young = {
        service.key
        for service in cluster.services
        if service.meta.created_at is not None and service.meta.created_at > since
    }
    for item in cluster.slices:
        if item.service is None:
            continue
        changed = parse_go_time(item.meta.annotations.get(CHANGED_AT)) or item.meta.created_at
        if changed is not None and changed > since:
            young.add(item.service)
    return frozenset(young)
