"""A snapshot of a live cluster: the API, a pause, the nodes, a pause, the API again.

What is gathered is redacted at once, so that a live run sees what its stored snapshot holds.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace

from kdiag import __version__
from kdiag.errors import UsageError
from kdiag.gather.addressing import AddressType, node_addresses, read_inventory
from kdiag.gather.api import Reading, read_all, read_moving
from kdiag.gather.api_connection import ApiConnection
from kdiag.gather.fanout import MAX_BYTES, Progress, gather_nodes
from kdiag.gather.framing import parse_output
from kdiag.gather.printable import printable
from kdiag.gather.redact import redact, redact_nodes, redact_recordings
from kdiag.gather.script import Sudo
from kdiag.gather.snapshot_layout import CLUSTER_AFTER, cluster_again, gap_order, nodes_again
from kdiag.gather.ssh_settings import SshSettings
from kdiag.gather.transports import NodeAddress, transport_of
from kdiag.model.cluster import ClusterState
from kdiag.model.lookup import find_node
from kdiag.model.report import Gap
from kdiag.model.snapshot import Recording, Round, Snapshot
from kdiag.parse.api import parse_cluster
from kdiag.parse.proxy_config import cluster_config_map

NORMAL_LAG_S = 2.5
"""Pause between the API and the nodes: with less, healthy proxies at 5 changes a second agreed with neither list."""

_AFTER_SYNC_S = 1.5
_LARGE_BYTES = 1 << 20
"""From how many bytes of EndpointSlices on nodes may ask whether their dumps are wanted: below, to ask costs more."""

_CLOCK_TOLERANCE_S = 2.0
"""Clocks that differ by less are taken for equal: the server tells whole seconds, some time after it took them."""


class Watch(Progress, Protocol):
    """What is told while a cluster is gathered: Progress of the nodes, and what is being done."""

    def phase(self, text: str) -> None:
        """Something else begins: `reading the API`."""
        ...

    def nodes_expected(self, total: int) -> None:
        """So many nodes are about to be asked."""
        ...

    def close(self) -> None:
        """Nothing more will be told."""
        ...


class Silent:
    """A watch that says nothing."""

    def started(self, node: str) -> None:
        """See Progress."""

    def received(self, node: str, size_bytes: int) -> None:
        """See Progress."""

    def finished(self, node: str, *, failed: bool) -> None:
        """See Progress."""

    def phase(self, text: str) -> None:
        """See Watch."""

    def nodes_expected(self, total: int) -> None:
        """See Watch."""

    def close(self) -> None:
        """See Watch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be gathered, and how nodes are reached.

    `nodes` narrows the work to these (empty: all), `without_nodes` leaves all out; `from_files` maps a node to the saved
    output of the script, which is read instead of asking the node. `settle_s` is the longest lag of a proxy that is
    normal: no pause is longer. `timeout_s` is for each node, `deadline_s` for all of them together.
    """

    nodes: tuple[str, ...] = ()
    without_nodes: bool = False
    from_files: Mapping[str, Path] = field(default_factory=dict)
    transport: str = "ssh"
    ssh: SshSettings = field(default_factory=SshSettings)
    inventory: Path | None = None
    address_type: AddressType = AddressType.INTERNAL_IP
    sudo: Sudo = Sudo.IF_NEEDED
    parallel: int = 32
    timeout_s: float = 60.0
    deadline_s: float | None = None
    settle_s: float = 30.0


class Collector:
    """Gathers one cluster. `stop` is set by Ctrl-C: what is under way ends, and what there is is kept."""

    def __init__(
        self, connection: ApiConnection, order: Order, *, watch: Watch | None = None, stop: threading.Event
    ) -> None:
        self._connection = connection
        self._order = order
        self._watch: Watch = watch or Silent()
        self._stop = stop
        self._pause_s = 0.0
        # Read before anything is asked: a typing error should not cost a minute.
        self._inventory = None if order.inventory is None else read_inventory(order.inventory)
        self._saved = {node: _saved_output(node, path) for node, path in sorted(order.from_files.items())}

    def first(self) -> Snapshot:
        """The cluster as it is now.

        A node that cannot be read is a gap. Raises ClusterError if the API cannot be reached, TargetError if the order
        names a node that there is not.
        """
        self._watch.phase("reading the API")
        before = read_all(self._connection)
        addresses, left_out, gaps = self._addresses(before)
        lag_s = self._pause_s = min(self._order.settle_s, _normal_lag_s(before))
        self._pause("waiting for the proxies to follow")
        taken_at = self._now()
        nodes, node_gaps = self._nodes(addresses, before)
        for node, content in self._saved.items():
            found, saved_gaps = parse_output(content, node=node)
            nodes = {**nodes, **({node: found} if found else {})}
            node_gaps = (*node_gaps, *saved_gaps)
        if not nodes and self._order.without_nodes:
            self._pause_s = 0.0  # there is nothing that the API would have to follow
        after = self._after(before, CLUSTER_AFTER)
        return Snapshot(
            name=printable(self._connection.cluster),
            taken_at=taken_at,
            api=redact_recordings(before.recordings),
            api_after=redact_recordings(after.recordings),
            nodes=redact_nodes(nodes),
            manifest={
                "kdiag_version": __version__,
                "api_server": self._connection.server,
                "settle_s": lag_s,
                **(
                    {"nodes_asked": False}
                    if self._order.without_nodes and not self._saved
                    else {"nodes_left_out": left_out}
                ),
            },
            gaps=_printable_gaps([*before.gaps, *gaps, *node_gaps]),
        )

    def again(self, snapshot: Snapshot, nodes: Sequence[str]) -> Snapshot:
        """The snapshot with one more round, of these nodes only.

        Begins `settle_s` after the reading before it, so that what was on its way then has arrived. Nodes whose saved
        output was read cannot be read again.
        """
        number = len(snapshot.again) + 1
        wanted = [node for node in nodes if node not in self._saved]
        before = Reading(recordings={**snapshot.api})
        addresses, _, _ = self._addresses(before, only=wanted)
        self._pause(f"waiting for {len(addresses)} unsettled nodes", seconds=self._order.settle_s)
        if self._stop.is_set() or not addresses:
            return snapshot
        taken_at = self._now()
        found, gaps = self._nodes(addresses, before)
        after = self._after(before, cluster_again(number))
        directory = nodes_again(number)
        moved = {
            node: {probe: item.replaced(source=_moved(item.source, directory)) for probe, item in probes.items()}
            for node, probes in sorted(found.items())
        }
        later = Round(
            taken_at=taken_at,
            nodes=redact_nodes(moved),
            api_after=redact_recordings(after.recordings),
        )
        # What concerns no single node was told by the first round.
        told = [replace(gap, reason=f"when it was read again: {gap.reason}") for gap in gaps if gap.node is not None]
        return replace(snapshot, again=(*snapshot.again, later), gaps=_printable_gaps([*snapshot.gaps, *told]))

    def _addresses(
        self, before: Reading, only: Sequence[str] | None = None
    ) -> tuple[tuple[NodeAddress, ...], list[str], tuple[Gap, ...]]:
        """Where to ask, the nodes that the order leaves out, and the nodes that cannot be asked."""
        cluster, _ = parse_cluster({kind: item for kind, item in before.recordings.items() if kind == "nodes"})
        order = self._order
        known = sorted({*cluster.node_by_name, *(self._inventory or {} if "nodes" not in cluster.seen else {})})
        for node in self._saved:
            find_node(cluster, node, also=known)
        wanted = {find_node(cluster, node, also=known) for node in order.nodes} or set(known)
        if only is not None:
            wanted &= set(only)
        if order.without_nodes:
            wanted = set()
        left_out = sorted(set(known) - wanted - set(self._saved))
        wanted -= set(self._saved)
        if "nodes" not in cluster.seen and self._inventory is not None:
            # Nobody says which nodes there are: those of the inventory are better than none.
            return tuple(item for node, item in sorted(self._inventory.items()) if node in wanted), left_out, ()
        addresses, gaps = node_addresses(
            [node for node in cluster.nodes if node.name in wanted],
            address_type=order.address_type,
            inventory=self._inventory,
        )
        return addresses, left_out, gaps

    def _nodes(
        self, addresses: Sequence[NodeAddress], before: Reading
    ) -> tuple[dict[str, dict[str, Recording]], tuple[Gap, ...]]:
        if not addresses:
            return {}, ()
        order = self._order
        self._watch.phase("reading the nodes")
        self._watch.nodes_expected(len(addresses))
        transport = transport_of(order.transport, order.ssh)
        try:
            return gather_nodes(
                addresses,
                transport,
                parallel=order.parallel,
                timeout_s=order.timeout_s,
                deadline_s=order.deadline_s,
                progress=self._watch,
                sudo=order.sudo,
                cancelled=self._stop,
                asks=len(addresses) > 1 and _has_large_dumps(before),
            )
        finally:
            transport.close()

    def _after(self, before: Reading, directory: str) -> Reading:
        self._pause("waiting for the API to follow")
        self._watch.phase("reading the API again")
        try:
            return read_moving(self._connection, before, directory)
        except KeyboardInterrupt:
            if self._stop.is_set():
                raise
            # What the nodes said is worth a few lists more; who interrupts again means it.
            self._stop.set()
            return read_moving(self._connection, before, directory)

    def _pause(self, text: str, seconds: float | None = None) -> None:
        """Waits, unless the run was interrupted; Ctrl-C ends the wait and the run."""
        self._watch.phase(text)
        try:
            self._stop.wait(self._pause_s if seconds is None else seconds)
        except KeyboardInterrupt:
            self._stop.set()

    def _now(self) -> datetime:
        """The API server's time, with which its own time stamps are compared."""
        ahead_s = self._connection.clock_ahead_s
        moment = datetime.now(UTC)
        if abs(ahead_s) >= _CLOCK_TOLERANCE_S:
            moment += timedelta(seconds=ahead_s)
        return moment.replace(microsecond=0)


def _has_large_dumps(before: Reading) -> bool:
    """True if dumps of rules have megabytes: there are about as many bytes of EndpointSlices as of rules for them."""
    slices = [item for kind, item in before.recordings.items() if kind.startswith("endpointslices")]
    return any(item.size_bytes > _LARGE_BYTES for item in slices)


def _normal_lag_s(before: Reading) -> float:
    """How long a healthy proxy may lag: it waits `minSyncPeriod` between two changes (1 s unless it is set)."""
    maps = {kind: item for kind, item in before.recordings.items() if kind.endswith("-configmaps")}
    cluster: ClusterState = parse_cluster(maps)[0]
    config = cluster_config_map(cluster)[0]
    period_s = config.min_sync_period_s if config is not None else None
    return max(NORMAL_LAG_S, (period_s or 0.0) + _AFTER_SYNC_S)


def _saved_output(node: str, path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"--from-file {node}={path}: it has more than {MAX_BYTES >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"--from-file {node}={path}: {error.strerror or error}",
            hint="it is the output of the script that `kdiag collect --print-script` prints",
        ) from None


def _moved(source: str, directory: str) -> str:
    """`nodes/node01/ip-addr.json` as a path below another directory than `nodes`."""
    return f"{directory}/{source.partition('/')[2]}"


def _printable_gaps(gaps: Sequence[Gap]) -> tuple[Gap, ...]:
    """The gaps as a stored snapshot holds them: without secrets and without what a terminal might obey."""
    clean = {
        replace(
            gap,
            subject=printable(gap.subject),
            reason=printable(redact(gap.reason.encode(errors="replace")).decode()),
        )
        for gap in gaps
    }
    return tuple(sorted(clean, key=gap_order))
