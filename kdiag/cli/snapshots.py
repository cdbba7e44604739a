"""Which cluster a command looks at: a recorded one or a live one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdiag.errors import UsageError

if TYPE_CHECKING:
    from kdiag.cli.live import LiveOptions
    from kdiag.model.snapshot import Snapshot


def open_wanted(
    path: Path | None,
    *,
    demo: bool,
    live: LiveOptions,
    nodes: Sequence[str] = (),
    without_nodes: bool = False,
) -> Snapshot:
    """The snapshot that `--snapshot` or `--demo` names, else one of the live cluster.

    `nodes` and `without_nodes` narrow what is gathered from a live cluster. Raises UsageError if the options exclude
    each other.
    """
    if path is not None and demo:
        raise UsageError("--snapshot and --demo exclude each other")
    if path is None and not demo:
        from kdiag.cli.live import gather

        return gather(live, nodes=nodes, without_nodes=without_nodes)
    given = live.given()
    if given:
        recorded = "--demo" if demo else "--snapshot"
        raise UsageError(
            f"{given[0]} is for a live cluster, and {recorded} names a recorded one",
            hint=f"leave out {given[0]} or {recorded}",
        )
    from kdiag import pipeline

    return pipeline.open_snapshot(path, demo=demo)
