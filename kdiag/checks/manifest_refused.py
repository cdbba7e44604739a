"""KD320: a manifest holds something that the API server would refuse."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kdiag.checks.interface import Check
from kdiag.model.addresses import Address
from kdiag.model.cluster import Service
from kdiag.model.plan import Place, Plan, Refusal
from kdiag.model.report import Affected, Evidence, Finding, Severity
from kdiag.model.view import View


def run(view: View) -> Iterable[Finding]:
    """One finding per object and reason; nothing without manifests."""
    if view.plan is None:
        return
    for refusal in view.plan.refusals:
        yield _finding(refusal)
    for service in view.plan.services:
        yield from _fixed(view.plan, service, view.plan_replaces.get(service.key))


def _fixed(plan: Plan, service: Service, there: Service | None) -> Iterator[Finding]:
    """spec.clusterIP of a Service that is there already cannot be changed (ValidateServiceUpdate)."""
    if there is None or not (there.cluster_ips and service.cluster_ips) or "ExternalName" in (there.type, service.type):
        return
    if there.cluster_ips[0] != service.cluster_ips[0]:
        yield _finding(
            Refusal(
                kind="Service",
                key=service.key,
                place=plan.places.get(("Service", service.key), Place(source="")),
                reason=(
                    f"spec.clusterIP of a Service cannot be changed: it is {_text(there.cluster_ips[0])} and would be "
                    f"{_text(service.cluster_ips[0])}"
                ),
            )
        )


def _text(address: Address) -> str:
    return str(address)


def _finding(refusal: Refusal) -> Finding:
    service = str(refusal.key) if refusal.kind == "Service" else None
    return CHECK.finding(
        service=service,
        expected=f"a {refusal.kind} that the API server takes",
        actual=refusal.reason,
        message=f"{refusal.kind} {refusal.key}: {refusal.reason}.",
        affected=[Affected(service=service)] if service is not None else (),
        evidence=[Evidence(source=refusal.place.source, line=refusal.place.line, text=f"{refusal.kind} {refusal.key}")]
        if refusal.place.source
        else (),
    )


CHECK = Check(
    code="KD320",
    slug="manifest-refused",
    title="The API server would refuse a manifest",
    severity=Severity.ERROR,
    explanation="""\
Only where manifests are judged (`kdiag preflight -f`): an object that is to be applied has a field that makes no sense, or
stands twice.

**What it does to traffic.** The object is not created or not changed. What else the manifests hold is applied all the same, so
that pods run without their Service, or the old Service goes on.

**How it is found.** Services are held against what every API server from 1.20 on refuses: words that are none of those allowed
(`externalTrafficPolicy: local`), ports out of range, without a name among several, or twice, node ports of a type that has none,
addresses that are none, a cluster IP that differs from the one that the Service has. Other objects must be decodable.
The same kind, namespace and name twice is reported at the second place.

**What is left alone.** What only some releases refuse; admission webhooks and policies; fields that kdiag does not know.
""",
    hint="Correct the manifest; kubectl apply --dry-run=server -f FILE asks the API server itself.",
    run=run,
)
