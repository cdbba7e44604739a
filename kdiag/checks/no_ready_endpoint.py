"""KD302: a Service none of whose endpoints is usable."""

from __future__ import annotations

from collections import Counter
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
    pod_state,
    port_list,
    selector_text,
    shortages_by,
)
from kdiag.model.report import Evidence, Finding, Severity
from kdiag.model.view import View


def run(view: View) -> Iterable[Finding]:
    """One finding per Service."""
    for item in shortages_by(view, Lack.NOT_USABLE):
        service = item.service
        if service.selector:
            yield _selected(view, item)
        elif not service.headless:
            yield _written_by_hand(view, item)


def _selected(view: View, item: Shortage) -> Finding:
    service = item.service
    states = Counter(pod_state(pod) for pod in item.pods or ())
    what = "Service" if item.whole else f"Port {port_list(item.ports)} of Service"
    if item.pods is None:
        actual = "no usable endpoint"
        reason = "its endpoint lists hold no usable endpoint; pods were not recorded, so the reason is not known"
    else:
        actual = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        reason = f"of {len(item.pods)} matching pod{'' if len(item.pods) == 1 else 's'}: {actual}"
        if states["ready"]:
            reason += "; the ready ones do not declare the target port"
    old_proxy = (
        " kube-proxy of this release does not use terminating pods; releases from 1.26 on do where no other is left."
        if states["terminating"] and not states["not ready"]
        else ""
    )
    return CHECK.finding(
        severity=Severity.ERROR if is_vital(service) else None,
        service=str(service.key),
        port=only_port(item.ports),
        frontend=frontend_text(service, item.ports),
        expected="at least one usable endpoint",
        actual=actual,
        message=f"{what} {service.key} has no usable endpoint: {reason}. Connections to it fail.{old_proxy}",
        hint=(
            f"kubectl -n {service.key.namespace} get pods -l {selector_text(service)}, then describe one: "
            "look at its readiness probe and events."
        ),
        affected=affected_ports(service, item.ports),
        evidence=_evidence(view, item),
    )


def _written_by_hand(view: View, item: Shortage) -> Finding:
    service = item.service
    vital = is_vital(service)
    return CHECK.finding(
        severity=Severity.ERROR if vital else Severity.INFO,
        service=str(service.key),
        port=only_port(item.ports),
        frontend=frontend_text(service, item.ports),
        expected="endpoints written by somebody, since the Service has no selector",
        actual="no usable endpoint",
        message=(
            f"{'Service' if item.whole else f'Port {port_list(item.ports)} of Service'} {service.key} has no selector, "
            "and nobody has given it a usable endpoint: connections to it fail."
        ),
        hint=(
            "The API servers write these endpoints themselves: look at their logs."
            if vital
            else f"kubectl -n {service.key.namespace} get endpointslices "
            f"-l kubernetes.io/service-name={service.key.name}: write the missing endpoints or delete the Service."
        ),
        affected=affected_ports(service, item.ports),
        evidence=_evidence(view, item),
    )


def _evidence(view: View, item: Shortage) -> tuple[Evidence, ...]:
    shown = tuple(sorted(item.pods or (), key=lambda pod: pod.key))[:5]
    pods = tuple(
        line for pod in shown for line in from_api(view.cluster, "pods", f"{pod.key}: {pod.phase}, {pod_state(pod)}")
    )
    slices = sorted(view.cluster.slices_by_service.get(item.service.key, ()), key=lambda part: part.meta.key)
    listed = tuple(
        line
        for part in slices[:3]
        for line in from_api(
            view.cluster,
            "endpointslices",
            f"{part.meta.key}: {len(part.endpoints)} endpoint{'' if len(part.endpoints) == 1 else 's'}, none usable",
        )
    )
    return pods + listed


CHECK = Check(
    code="KD302",
    slug="no-ready-endpoint",
    title="The Service has no usable endpoint",
    severity=Severity.WARNING,
    explanation="""\
The Service's selector matches pods, but none of them can take traffic: they are not ready, have no address yet, are
terminating, or have ended. Or the Service has no selector and nobody has written endpoints for it.

**What it does to traffic.** kube-proxy refuses connections to every address of the Service.

**How it is found.** From the EndpointSlices (or Endpoints, where a cluster has no slices). Usable is what kube-proxy
would use: a ready endpoint, or, from kube-proxy 1.26 on and where nothing is ready, one that terminates and still serves.
The pods say why. It is an error for `default/kubernetes` and the cluster's DNS Service, a warning for other Services with
a selector and worth knowing (info) for Services without one.

**What is left alone.** Services with `publishNotReadyAddresses` count their pods as ready. Where the selector matches
nothing at all it is KD301, where a named target port is the reason KD303, where only the port's name differs KD310, where
ready pods are not listed KD304, where only another IP family has endpoints KD308.
""",
    hint="Look at the readiness probes and events of the pods behind the Service: kubectl describe pod.",
    run=run,
)
