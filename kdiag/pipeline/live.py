"""From a live cluster to a snapshot: gathered once, and again where the API changed meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from kdiag.gather.api_connection import connect
from kdiag.gather.collect import Collector, Order, Watch
from kdiag.model.cluster import ClusterState
from kdiag.model.objects import ObjectKey
from kdiag.model.snapshot import Recording, Snapshot
from kdiag.pipeline.rounds import is_unsettled
from kdiag.pipeline.settling import moved_between, young_services
from kdiag.pipeline.viewing import build_view, read_cluster

DEFAULT_RETRIES = 2

_READ_WITHIN_S = 3600.0
"""Longer than reading all nodes takes."""
_DECISIVE = ("services", "endpointslices", "endpoints")
"""How the names of the lists begin that say where packets go."""


def gather_live(
    order: Order,
    *,
    kubeconfig: Path | None = None,
    context: str | None = None,
    retries: int = DEFAULT_RETRIES,
    watch: Watch | None = None,
) -> Snapshot:
    """The cluster as it is now.

    Nodes with Services that were not settled are read again, at most `retries` times. Ctrl-C while nodes are read, or
    later, ends that, and what there is is returned; a second one is raised.
    """
    stop = threading.Event()
    connection = connect(kubeconfig, context, stop=stop)
    try:
        collector = Collector(connection, order, watch=watch, stop=stop)
        snapshot = collector.first()
        try:
            for _ in range(retries):
                nodes = () if stop.is_set() else unsettled_nodes(snapshot, order.settle_s)
                longer = collector.again(snapshot, nodes) if nodes else snapshot
                if longer is snapshot:
                    break
                snapshot = longer
        except KeyboardInterrupt:
            if stop.is_set():
                raise
        return snapshot
    finally:
        if watch is not None:
            watch.close()
        connection.close()


def unsettled_nodes(snapshot: Snapshot, settle_s: float) -> tuple[str, ...]:
    """The nodes that have Service ports of which nothing can be said yet, because the API changed too lately."""
    if not snapshot.nodes:
        return ()
    if not _changed(snapshot.api, snapshot.api_after) and not young_services(
        read_cluster(snapshot)[0], snapshot.taken_at, settle_s
    ):
        return ()

    def lately_changed(before: ClusterState, cluster: ClusterState) -> frozenset[ObjectKey] | None:
        # Each node's own time is near that of the snapshot.
        found = moved_between(before, cluster) | young_services(cluster, snapshot.taken_at, settle_s + _READ_WITHIN_S)
        # What becomes of a node's object may change what is asked of any Service.
        few = len(found) * 4 < len(cluster.services) and _placed(before) == _placed(cluster)
        return found if few else None

    view, _ = build_view(snapshot, settle_s=settle_s, only=lately_changed)
    return tuple(node.name for node in view.nodes if node.comparison is not None and is_unsettled(node.comparison))


def _placed(cluster: ClusterState) -> dict[str, tuple[object, ...]]:
    """What of the Node objects decides where packets go."""
    return {node.name: (node.addresses, node.pod_cidrs, node.zone) for node in cluster.nodes}


def _changed(before: Mapping[str, Recording], after: Mapping[str, Recording]) -> bool:
    """True if a list that decides where packets go is not known to be what it was before."""
    # Its resource version, which stands in the list, tells of what came and went between.
    return any(
        kind.startswith(_DECISIVE) and (kind not in before or recording.content != before[kind].content)
        for kind, recording in after.items()
    )
