"""Where things lie in a snapshot: see docs/snapshot-format.md."""

from __future__ import annotations

import re

from kdiag.model.report import Gap

FORMAT = "kdiag/snapshot/v1"
"""Value of the manifest's `format`. The number grows when an older kdiag would misread a newer snapshot."""

MANIFEST = "manifest.json"
"""Name of the manifest; it may also be compressed (`manifest.json.gz`)."""

CLUSTER = "cluster"
CLUSTER_AFTER = "cluster-after"
NODES = "nodes"

SAME_AS = "same_as"
"""Key of the manifest's facts on a file that is not there: the path of another node's file with the same content."""

LEAST_SHARED_BYTES = 4096
"""Smaller files are stored for each node: a person who looks at one finds them there."""

PathParts = tuple[str, ...]

_DEPTHS = {MANIFEST: 1, f"{MANIFEST}.gz": 1, CLUSTER: 2, CLUSTER_AFTER: 2, NODES: 3}
"""How many parts the path of a file has, by its first part."""

_AGAIN = re.compile(r"(cluster|nodes)-again-[1-9][0-9]?")


def cluster_again(number: int) -> str:
    """The directory of the API as it was read after a later round (from 1)."""
    return f"{CLUSTER}-again-{number}"


def nodes_again(number: int) -> str:
    """The directory of the nodes that were read in a later round (from 1)."""
    return f"{NODES}-again-{number}"


def depth_of(first: str) -> int | None:
    """How many parts the path of a file has that begins with this; None if nothing of a snapshot begins so."""
    if first in _DEPTHS:
        return _DEPTHS[first]
    match = _AGAIN.fullmatch(first)
    return _DEPTHS[match[1]] if match else None


def gap_order(gap: Gap) -> tuple[str, str, str, str]:
    """The order in which a snapshot holds its gaps."""
    return (gap.node or "", gap.subject, gap.reason, gap.kind)
