"""KD301: a Service whose selector matches no pod."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.evidence import from_api
from kdiag.checks.interface import Check
from kdiag.checks.service_endpoints import (
    Lack,
    Shortage,
    affected_ports,
    frontend_text,
    is_vital,
    only_port,
    selector_text,
    shortages_by,
)
from kdiag.model.cluster import ClusterState, Service
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View


def run(view: View) -> Iterable[Finding]:
    """One finding per Service."""
    namespaces = tuple(sorted({pod.key.namespace for pod in view.cluster.pods}))
    for item in shortages_by(view, Lack.NO_POD):
        yield _finding(view, item, _clue(view.cluster, item.service, namespaces))


def _finding(view: View, item: Shortage, clue: str) -> Finding:
    service = item.service
    outcome = (
        "its DNS name resolves to nothing"
        if service.headless
        else "it has no endpoints and every connection to it fails"
    )
    return CHECK.finding(
        severity=Severity.ERROR if is_vital(service) else None,
        service=str(service.key),
        port=only_port(item.ports),
        frontend=frontend_text(service, item.ports),
        expected=f"pods with the labels {selector_text(service)}",
        actual="no such pod",
        message=(
            f"Service {service.key} selects pods with the labels {selector_text(service)}, and namespace "
            f"{service.key.namespace} has none: {outcome}.{clue}"
        ),
        hint=f"kubectl -n {service.key.namespace} get pods --show-labels: compare with the selector of the Service.",
        affected=affected_ports(service, item.ports),
        evidence=from_api(view.cluster, "services", f"{service.key}: selector {selector_text(service)}"),
    )


def _clue(state: ClusterState, service: Service, namespaces: tuple[str, ...]) -> str:
    """What is nearest to a match: a part of the labels here, or all of them in another namespace."""
    wanted = sorted((service.selector or {}).items())
    unknown = [
        f"{label}={value}"
        for label, value in wanted
        if (service.key.namespace, label, value) not in state.pods_by_label
    ]
    elsewhere = [
        namespace
        for namespace in namespaces
        if any(
            all(pod.meta.labels.get(label) == value for label, value in wanted)
            for pod in state.pods_by_label.get((namespace, *wanted[0]), ())
        )
    ]
    if elsewhere:
        return (
            f" Pods with these labels are in namespace {', '.join(elsewhere[:3])}, "
            "but a Service selects in its own namespace alone."
        )
    if len(wanted) > 1 and len(unknown) < len(wanted):
        return (
            f" No pod there has {' or '.join(unknown)}; the other labels are in use."
            if unknown
            else " Every label is in use there, but no pod has all of them."
        )
    return ""


CHECK = Check(
    code="KD301",
    slug="selector-matches-nothing",
    title="The Service's selector matches no pod",
    severity=Severity.WARNING,
    explanation="""\
A Service with a selector gets its endpoints from the pods of its own namespace that carry all the labels of the
selector. If there is none, it has no endpoints.

**What it does to traffic.** kube-proxy refuses connections to every address of the Service (iptables and nftables
mode: ICMP port unreachable; IPVS: a virtual server without real servers). The name of a headless Service resolves to
nothing.

**How it is found.** The labels of all recorded pods are compared with the selector. Pods that have ended count as
matches, and so do pods that are not ready: those are KD302.

**What is left alone.** ExternalName Services, Services without a selector, Services that the label
`service.kubernetes.io/service-proxy-name` leaves to another proxy, and Services whose ports all have endpoints although
no pod matches, because somebody else writes their EndpointSlices. A workload that is scaled to zero on purpose cannot
be told from a wrong label and is reported.
""",
    hint="Compare the labels of the pods with the selector of the Service: kubectl get pods --show-labels.",
    run=run,
)
