"""A report that `-o json` printed → Report."""

from __future__ import annotations

from datetime import datetime

import msgspec

from kdiag.errors import ParseError
from kdiag.model.report import Affected, Evidence, Finding, Gap, GapKind, Report, Severity

SCHEMA = "kdiag/report/v1"


class _Cluster(msgspec.Struct):
    name: str
    server_version: str | None = None
    taken_at: datetime | None = None
    proxy_modes: dict[str, str] = {}


class _Summary(msgspec.Struct):
    kdiag_version: str = ""
    nodes_known: int = 0
    nodes_judged: int = 0
    services_judged: int = 0
    frontends_judged: int = 0


class _Finding(msgspec.Struct):
    code: str
    slug: str
    severity: Severity
    title: str
    message: str = ""
    hint: str = ""
    node: str | None = None
    service: str | None = None
    port: str | None = None
    frontend: str | None = None
    expected: str | None = None
    actual: str | None = None
    affected: tuple[Affected, ...] = ()
    evidence: tuple[Evidence, ...] = ()


class _Gap(msgspec.Struct):
    subject: str
    reason: str
    kind: GapKind
    node: str | None = None


class _Report(msgspec.Struct):
    schema: str
    cluster: _Cluster
    summary: _Summary
    findings: list[_Finding]
    gaps: list[_Gap]


def parse_report(content: bytes) -> Report:
    """The findings, gaps and figures of a report. What a baseline said of findings is left out.

    Raises ParseError for what is no report of version 1.
    """
    try:
        found = msgspec.json.decode(content, type=_Report)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ParseError(f"not a report of kdiag: {error}") from None
    if found.schema != SCHEMA:
        raise ParseError(f"not a report of kdiag but {found.schema!r}", hint="kdiag preflight -o json writes one")
    return Report(
        cluster=found.cluster.name,
        kdiag_version=found.summary.kdiag_version,
        server_version=found.cluster.server_version,
        taken_at=found.cluster.taken_at,
        nodes_known=found.summary.nodes_known,
        nodes_judged=found.summary.nodes_judged,
        services_judged=found.summary.services_judged,
        frontends_judged=found.summary.frontends_judged,
        findings=tuple(
            Finding(**{name: getattr(item, name) for name in item.__struct_fields__}) for item in found.findings
        ),
        gaps=tuple(Gap(node=gap.node, subject=gap.subject, reason=gap.reason, kind=gap.kind) for gap in found.gaps),
        modes=found.cluster.proxy_modes,
    )
