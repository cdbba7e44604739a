"""A snapshot: raw text and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct, field

from kdiag.model.report import Gap


class Recording(Struct, frozen=True, kw_only=True):
    """What one API request or one command printed.

    `source` is the path inside the snapshot, used in evidence. `exit_status` and `stderr` are None and empty
    where the snapshot does not say; `http_status` is that of an API request, None for a command or where unknown.
    """

    source: str
    content: bytes
    exit_status: int | None = None
    stderr: str = ""
    http_status: int | None = None

    def text(self) -> str:
        """The content as text; bytes that are not UTF-8 become U+FFFD."""
        return self.content.decode("utf-8", errors="replace")


class Round(Struct, frozen=True, kw_only=True):
    """Some nodes read once more, because the API had changed while they were read.

    `nodes` are their probes. `api_after` is the API as it was read afterwards; what it was before them is the reading
    that came before this round. `taken_at` is when the nodes were read.
    """

    taken_at: datetime | None = None
    nodes: Mapping[str, Mapping[str, Recording]] = field(default_factory=dict)
    api_after: Mapping[str, Recording] = field(default_factory=dict)


class Snapshot(Struct, frozen=True, kw_only=True):
    """Everything that was gathered from a cluster.

    `api` maps a kind (`services`, `endpointslices-v1`, `pods`, … : the file name without its ending) to the list
    as the API gave it before the nodes were read, `api_after` to the list read afterwards (empty when the API was
    read once). `nodes` maps a node name to its probes, and those (`iptables-save`, `ip-addr`, `kube-proxy`: the
    file name without its last ending) to what they printed. `again` are later rounds, oldest first.
    """

    name: str
    taken_at: datetime | None = None
    api: Mapping[str, Recording] = field(default_factory=dict)
    api_after: Mapping[str, Recording] = field(default_factory=dict)
    nodes: Mapping[str, Mapping[str, Recording]] = field(default_factory=dict)
    again: tuple[Round, ...] = ()
    manifest: Mapping[str, object] = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()
