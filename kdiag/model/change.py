"""What is different between two looks at a cluster."""

from __future__ import annotations

import enum

from msgspec import Struct

from kdiag.model.report import Finding, Gap, Report


class ChangeKind(enum.StrEnum):
    """What a data plane does otherwise than before."""

    PROGRAMMED = "address programmed"
    GONE = "address gone"
    BACKEND_ADDED = "endpoint added"
    BACKEND_REMOVED = "endpoint removed"
    REFUSED = "refused now"
    NOT_REFUSED = "no longer refused"
    DROPPED = "dropped now"
    NOT_DROPPED = "no longer dropped"


class PlaneChange(Struct, frozen=True, kw_only=True, order=True):
    """One change of what nodes really do with a Service port.

    `service` is `namespace/name`, empty for addresses that no Service has; `port` its label. `backend` is set for
    endpoints. `frontends` are the addresses concerned; `nodes` where it changed, empty if on all that both looks saw.
    """

    service: str
    port: str
    kind: ChangeKind
    backend: str = ""
    frontends: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()


class Change(Struct, frozen=True, kw_only=True):
    """Two reports side by side.

    Findings are the same if code, title, node, Service, port and address are. `unchanged` are as they are now.
    `plane` is None if not both looks are snapshots; `nodes_compared` counts the nodes whose rules both have.
    """

    before: Report
    after: Report
    new: tuple[Finding, ...] = ()
    gone: tuple[Finding, ...] = ()
    unchanged: tuple[Finding, ...] = ()
    new_gaps: tuple[Gap, ...] = ()
    gone_gaps: tuple[Gap, ...] = ()
    plane: tuple[PlaneChange, ...] | None = None
    nodes_compared: int = 0
