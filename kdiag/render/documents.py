"""The documents that scripts read: version 1 of the report, the trace and the flags.

These types are a contract of their own, apart from the model: the model may change with every release, these may not.
A new field may be added to version 1; taking one away or giving it another meaning makes version 2. Fields that do
not apply are null, never left out. JSON and YAML are two spellings of the same documents.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from kdiag.model.dataplane import ClientSet
from kdiag.model.facts import Fact, Facts
from kdiag.model.report import Acceptance, Affected, Evidence, Finding, Gap, GapKind, Report, Severity

if TYPE_CHECKING:
    from kdiag.model.baseline import BaselineEntry, BaselineUse
    from kdiag.model.trace import Trace, TraceBranch, TraceEndpoint, TraceStep, TraceVerdict, TraceWalk

Share = Annotated[float, Meta(ge=0, le=1)]
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


class TraceEndpointV1(Struct, kw_only=True, frozen=True):
    """One endpoint of the Service port as the API has it."""

    address: str
    pod: Annotated[str | None, Meta(description="namespace/name")]
    node: str | None
    state: str


class TraceVerdictV1(Struct, kw_only=True, frozen=True):
    """Whether one address works from one position on one node. `unknown` means that it cannot be told."""

    node: str
    frontend: str
    kind: Literal["ClusterIP", "ExternalIP", "LoadBalancerIP", "NodePort"]
    position: Literal["pod", "node", "external"]
    verdict: Literal["ok", "broken", "unknown"]
    expected: str
    actual: str


class TraceStepV1(Struct, kw_only=True, frozen=True):
    """One rule passed. `evidence` is null for the policy of a chain; `unclear` if it cannot be told whether it matches."""

    hook: str
    table: str
    chain: str
    action: str
    share: Share
    depth: Count
    unclear: bool
    evidence: EvidenceV1 | None


class TraceBranchV1(Struct, kw_only=True, frozen=True):
    """One fate of some of the clients. `legal` is null where nothing says what ought to happen."""

    clients: Annotated[list[str], Meta(description="CIDR blocks")]
    interfaces: Annotated[list[str] | None, Meta(description="null: any; an empty name: any other interface")]
    disposition: Literal["backend", "untranslated", "rejected", "dropped", "unknown"]
    backend: str | None
    masquerade: Literal["no", "proxy", "other"]
    affinity_s: int | None
    share: Share
    endpoint: str
    source_address: str
    legal: bool | None
    unclear: bool
    steps: list[TraceStepV1]


class TraceWalkV1(Struct, kw_only=True, frozen=True):
    """The walk that is shown in full."""

    node: str
    frontend: str
    kind: Literal["ClusterIP", "ExternalIP", "LoadBalancerIP", "NodePort"]
    position: Literal["pod", "node", "external"]
    expected: str
    branches: list[TraceBranchV1]
    missing: list[str]


class TraceV1(Struct, kw_only=True, frozen=True):
    """The answer of `kdiag trace`."""

    schema: Literal["kdiag/trace/v1"]
    title: str
    service: ServiceName
    port_name: str | None
    protocol: str | None
    endpoints: list[TraceEndpointV1]
    verdicts: list[TraceVerdictV1]
    walk: TraceWalkV1 | None
    notes: list[str]


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


Document = ReportV1 | TraceV1 | FlagsV1
DOCUMENTS: tuple[tuple[str, type[Struct]], ...] = (("report", ReportV1), ("trace", TraceV1), ("flags", FlagsV1))
"""Name and type of every document, as `docs/NAME.schema.json` publishes them."""


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


def trace_document(trace: Trace) -> TraceV1:
    """The trace as version 1 tells it."""
    key = trace.service_port
    return TraceV1(
        schema="kdiag/trace/v1",
        title=trace.title,
        service=None if key is None else str(key.service),
        port_name=None if key is None else key.port_name,
        protocol=None if key is None else key.protocol.value,
        endpoints=[_endpoint(endpoint) for endpoint in trace.endpoints],
        verdicts=[_verdict(verdict) for verdict in trace.verdicts],
        walk=None if trace.walk is None else _walk(trace.walk),
        notes=list(trace.notes),
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


def _endpoint(endpoint: TraceEndpoint) -> TraceEndpointV1:
    return TraceEndpointV1(address=endpoint.address, pod=endpoint.pod, node=endpoint.node, state=endpoint.state)


def _verdict(verdict: TraceVerdict) -> TraceVerdictV1:
    return TraceVerdictV1(
        node=verdict.node,
        frontend=verdict.frontend.label,
        kind=verdict.frontend.kind.value,
        position=verdict.frontend.position.value,
        verdict="unknown" if verdict.ok is None else "ok" if verdict.ok else "broken",
        expected=verdict.expected,
        actual=verdict.actual,
    )


def _walk(walk: TraceWalk) -> TraceWalkV1:
    return TraceWalkV1(
        node=walk.node,
        frontend=walk.frontend.label,
        kind=walk.frontend.kind.value,
        position=walk.frontend.position.value,
        expected=walk.expected,
        branches=[_branch(branch) for branch in walk.branches],
        missing=list(walk.missing),
    )


def _branch(branch: TraceBranch) -> TraceBranchV1:
    return TraceBranchV1(
        clients=[str(network) for network in branch.clients.addresses.networks()],
        interfaces=_interfaces(branch.clients),
        disposition=branch.fate.disposition.value,
        backend=None if branch.fate.backend is None else str(branch.fate.backend),
        masquerade=branch.fate.masquerade.value,
        affinity_s=branch.fate.affinity_s,
        share=_share(branch.share),
        endpoint=branch.endpoint,
        source_address=branch.source_address,
        legal=branch.legal,
        unclear=branch.unclear,
        steps=[_step(step) for step in branch.steps],
    )


def _step(step: TraceStep) -> TraceStepV1:
    rule = step.rule
    return TraceStepV1(
        hook=step.hook,
        table=step.table,
        chain=step.chain,
        action=step.action,
        share=_share(step.share),
        depth=step.depth,
        unclear=step.unclear,
        evidence=None if rule is None else EvidenceV1(source=rule.source, line=rule.line, text=rule.text),
    )


def _interfaces(clients: ClientSet) -> list[str] | None:
    return None if clients.interfaces is None else sorted(clients.interfaces)


def _share(share: float) -> float:
    """Six digits, and within 0 to 1: sums of shares are off by rounding, and output must not be."""
    return min(max(round(share, 6), 0.0), 1.0)


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
