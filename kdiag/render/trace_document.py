"""The document that scripts read of a trace: version 1.

The same rules as in `kdiag.render.documents` hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from kdiag.model.dataplane import ClientSet
from kdiag.render.documents import Count, EvidenceV1, ServiceName

if TYPE_CHECKING:
    from kdiag.model.trace import Trace, TraceBranch, TraceEndpoint, TraceStep, TraceVerdict, TraceWalk

Share = Annotated[float, Meta(ge=0, le=1)]


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
