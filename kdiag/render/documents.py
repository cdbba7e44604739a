"""The documents that scripts read: version 1 of the report and of the flags, and what others share with these.

These types are a contract of their own, apart from the model: the model may change with every release, these may not.
A new field may be added to version 1; taking one away or giving it another meaning makes version 2. Fields that do
not apply are null, never left out. JSON and YAML are two spellings of the same documents.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from kdiag.model.facts import Fact, Facts
from kdiag.model.report import Acceptance, Affected, Evidence, Finding, Gap, GapKind, Report, Severity

if TYPE_CHECKING:
    from kdiag.model.baseline import BaselineEntry, BaselineUse

Count = Annotated[int, Meta(ge=0)]
LineNumber = Annotated[int, Meta(ge=0, description="1-based; 0 stands for the whole file")]
PortLabel = Annotated[str | None, Meta(description="port and protocol, as in 80/TCP")]
ExpiryDay = Annotated[str, Meta(description="the last day on which it holds, YYYY-MM-DD in UTC")]
ServiceName = Annotated[str | None, Meta(description="namespace/name")]


class ClusterV1(Struct, kw_only=True, frozen=True):
    """The cluster that was examined."""

    name: str
    server_version: str | None
    taken_at: Annotated[str | None, Meta(description="when it was recorded, RFC 3339 in UTC")]
    proxy_modes: Annotated[dict[str, str], Meta(description="node name to kube-proxy's mode, where it is known")]


class SummaryV1(Struct, kw_only=True, frozen=True):
    """Counts. A node, Service or address is judged when a verdict on it was possible.

    `errors`, `warnings` and `infos` are findings that count; `accepted` are those that a baseline accepts.
    """

    kdiag_version: str
    errors: Count
    warnings: Count
    infos: Count
    accepted: Count
    gaps_failed: Count
    gaps_not_applicable: Count
    gaps_not_asked: Count
    nodes_known: Count
    nodes_judged: Count
    services_judged: Count
    frontends_judged: Count


class AffectedV1(Struct, kw_only=True, frozen=True):
    """One place where a finding's cause shows."""

    node: str | None
    service: ServiceName
    port: PortLabel


class EvidenceV1(Struct, kw_only=True, frozen=True):
    """One line of the snapshot. `source` is the path inside the snapshot."""

    source: str
    line: LineNumber
    text: str


class AcceptanceV1(Struct, kw_only=True, frozen=True):
    """What the baseline says of a finding. One that is `accepted` does not count; an `expired` one counts again."""

    state: Literal["accepted", "expired"]
    reason: str
    owner: str
    expires: ExpiryDay


class FindingV1(Struct, kw_only=True, frozen=True):
    """One cause, where it shows and the lines that prove it."""

    code: Annotated[str, Meta(pattern="^KD[0-9]{3}$")]
    slug: str
    severity: Literal["error", "warning", "info"]
    title: str
    node: str | None
    service: ServiceName
    port: PortLabel
    frontend: Annotated[str | None, Meta(description="the address that clients use, as in 10.96.0.10:53/UDP")]
    expected: str | None
    actual: str | None
    message: str
    hint: str
    affected: list[AffectedV1]
    evidence: list[EvidenceV1]
    acceptance: Annotated[AcceptanceV1 | None, Meta(description="null: no baseline knows the finding")]


class GapV1(Struct, kw_only=True, frozen=True):
    """Something that was not examined, and why. Only `failed` means that the evidence is incomplete (exit code 3)."""

    node: str | None
    subject: str
    reason: str
    kind: Literal["failed", "not-applicable", "not-asked"]


class BaselineEntryV1(Struct, kw_only=True, frozen=True):
    """One entry of a baseline."""

    code: Annotated[str, Meta(pattern="^KD[0-9]{3}$")]
    node: Annotated[str | None, Meta(description="* stands for every node")]
    service: ServiceName
    port: PortLabel
    frontend: str | None
    reason: str
    owner: str
    expires: ExpiryDay
    line: LineNumber


class BaselineV1(Struct, kw_only=True, frozen=True):
    """The baseline that was read. `unneeded` are its entries that nothing answers to any more."""

    path: str
    unneeded: list[BaselineEntryV1]


class ReportV1(Struct, kw_only=True, frozen=True):
    """The answer of `kdiag preflight` and the `kdiag check-…` commands."""

    schema: Literal["kdiag/report/v1"]
    cluster: ClusterV1
    summary: SummaryV1
    findings: list[FindingV1]
    gaps: list[GapV1]
    baseline: BaselineV1 | None


class SettingV1(Struct, kw_only=True, frozen=True):
    """One statement of one component, with the flag, key or field that makes it and where that stands."""

    kind: str
    component: str
    value: str
    node: str | None
    flag: str
    source: str
    line: LineNumber


class FlagsV1(Struct, kw_only=True, frozen=True):
    """The answer of `kdiag flags`."""

    schema: Literal["kdiag/flags/v1"]
    settings: list[SettingV1]


def report_document(report: Report) -> ReportV1:
    """The report as version 1 tells it."""
    kinds = [gap.kind for gap in report.gaps]
    taken_at = report.taken_at
    return ReportV1(
        schema="kdiag/report/v1",
        cluster=ClusterV1(
            name=report.cluster,
            server_version=report.server_version,
            taken_at=None if taken_at is None else taken_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            proxy_modes=dict(sorted(report.modes.items())),
        ),
        summary=SummaryV1(
            kdiag_version=report.kdiag_version,
            errors=report.count(Severity.ERROR),
            warnings=report.count(Severity.WARNING),
            infos=report.count(Severity.INFO),
            accepted=len(report.accepted),
            gaps_failed=kinds.count(GapKind.FAILED),
            gaps_not_applicable=kinds.count(GapKind.NOT_APPLICABLE),
            gaps_not_asked=kinds.count(GapKind.NOT_ASKED),
            nodes_known=report.nodes_known,
            nodes_judged=report.nodes_judged,
            services_judged=report.services_judged,
            frontends_judged=report.frontends_judged,
        ),
        findings=[_finding(finding) for finding in report.findings],
        gaps=[_gap(gap) for gap in report.gaps],
        baseline=None if report.baseline is None else _baseline(report.baseline),
    )


def flags_document(facts: Facts) -> FlagsV1:
    """The settings as version 1 tells them, in the order of the facts."""
    return FlagsV1(schema="kdiag/flags/v1", settings=[_setting(fact) for fact in facts.facts])


def _finding(finding: Finding) -> FindingV1:
    return FindingV1(
        code=finding.code,
        slug=finding.slug,
        severity=finding.severity.value,
        title=finding.title,
        node=finding.node,
        service=finding.service,
        port=finding.port,
        frontend=finding.frontend,
        expected=finding.expected,
        actual=finding.actual,
        message=finding.message,
        hint=finding.hint,
        affected=[_affected(item) for item in finding.affected],
        evidence=[_evidence(item) for item in finding.evidence],
        acceptance=None if finding.acceptance is None else _acceptance(finding.acceptance),
    )


def _baseline(use: BaselineUse) -> BaselineV1:
    return BaselineV1(path=use.path, unneeded=[_baseline_entry(entry) for entry in use.unneeded])


def _baseline_entry(entry: BaselineEntry) -> BaselineEntryV1:
    return BaselineEntryV1(
        code=entry.key.code,
        node=entry.key.node,
        service=entry.key.service,
        port=entry.key.port,
        frontend=entry.key.frontend,
        reason=entry.reason,
        owner=entry.owner,
        expires=entry.expires.isoformat(),
        line=entry.line,
    )


def _acceptance(acceptance: Acceptance) -> AcceptanceV1:
    return AcceptanceV1(
        state="expired" if acceptance.expired else "accepted",
        reason=acceptance.reason,
        owner=acceptance.owner,
        expires=acceptance.expires.isoformat(),
    )


def _affected(item: Affected) -> AffectedV1:
    return AffectedV1(node=item.node, service=item.service, port=item.port)


def _evidence(item: Evidence) -> EvidenceV1:
    return EvidenceV1(source=item.source, line=item.line, text=item.text)


def _gap(gap: Gap) -> GapV1:
    return GapV1(node=gap.node, subject=gap.subject, reason=gap.reason, kind=gap.kind.value)


def _setting(fact: Fact) -> SettingV1:
    return SettingV1(
        kind=fact.kind.value,
        component=fact.component,
        value=fact.value,
        node=fact.node,
        flag=fact.flag,
        source=fact.source,
        line=fact.line,
    )
