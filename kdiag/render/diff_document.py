"""The documents that scripts read of changes: version 1 of the diff.

The same rules as in `kdiag.render.documents` hold.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from kdiag.model.change import Change, PlaneChange
from kdiag.render.documents import ClusterV1, Count, FindingV1, GapV1, SummaryV1, report_document


class LookV1(Struct, kw_only=True, frozen=True):
    """One of the two looks."""

    cluster: ClusterV1
    summary: SummaryV1


class PlaneChangeV1(Struct, kw_only=True, frozen=True):
    """One change of what nodes really do with a Service port."""

    service: Annotated[str | None, Meta(description="namespace/name; null: no Service has the address")]
    port: Annotated[str | None, Meta(description="port and protocol, as in 80/TCP")]
    change: Literal[
        "address programmed",
        "address gone",
        "endpoint added",
        "endpoint removed",
        "refused now",
        "no longer refused",
        "dropped now",
        "no longer dropped",
    ]
    endpoint: str | None
    frontends: list[str]
    nodes: Annotated[list[str] | None, Meta(description="null: on all nodes that were compared")]


class DataPlaneV1(Struct, kw_only=True, frozen=True):
    """The changes of the data planes, and how many nodes were compared."""

    nodes_compared: Count
    changes: list[PlaneChangeV1]


class DiffV1(Struct, kw_only=True, frozen=True):
    """The answer of `kdiag diff`."""

    schema: Literal["kdiag/diff/v1"]
    before: LookV1
    after: LookV1
    new: list[FindingV1]
    gone: list[FindingV1]
    unchanged: list[FindingV1]
    new_gaps: list[GapV1]
    gone_gaps: list[GapV1]
    data_plane: Annotated[DataPlaneV1 | None, Meta(description="null: not both looks are snapshots with nodes")]


def diff_document(change: Change) -> DiffV1:
    """The change as version 1 tells it."""
    before, after = report_document(change.before), report_document(change.after)
    # Findings and gaps are told as reports tell them.
    new = report_document(replace(change.after, findings=change.new, gaps=change.new_gaps))
    gone = report_document(replace(change.before, findings=change.gone, gaps=change.gone_gaps))
    unchanged = report_document(replace(change.after, findings=change.unchanged, gaps=()))
    plane = None
    if change.plane is not None:
        plane = DataPlaneV1(nodes_compared=change.nodes_compared, changes=[_plane(item) for item in change.plane])
    return DiffV1(
        schema="kdiag/diff/v1",
        before=LookV1(cluster=before.cluster, summary=before.summary),
        after=LookV1(cluster=after.cluster, summary=after.summary),
        new=new.findings,
        gone=gone.findings,
        unchanged=unchanged.findings,
        new_gaps=new.gaps,
        gone_gaps=gone.gaps,
        data_plane=plane,
    )


def _plane(item: PlaneChange) -> PlaneChangeV1:
    return PlaneChangeV1(
        service=item.service or None,
        port=item.port or None,
        change=item.kind.value,
        endpoint=item.backend or None,
        frontends=list(item.frontends),
        nodes=list(item.nodes) or None,
    )


DIFF_DOCUMENTS: tuple[tuple[str, type[Struct]], ...] = (("diff", DiffV1),)
