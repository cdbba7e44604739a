"""KD303: a named target port that no matching pod declares."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.evidence import from_api
from kdiag.checks.interface import Check
from kdiag.checks.service_endpoints import (
    Lack,
    Shortage,
    affected_ports,
    frontend_text,
    only_port,
    port_list,
    selector_text,
    shortages_by,
)
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View


def run(view: View) -> Iterable[Finding]:
    """One finding per Service."""
    for item in shortages_by(view, Lack.TARGET_PORT):
        yield _finding(view, item)


def _finding(view: View, item: Shortage) -> Finding:
    service = item.service
    wanted = sorted({f"{port.target_port} ({port.protocol})" for port in item.ports})
    live = tuple(pod for pod in item.pods or () if not pod.terminated)
    declared = sorted(
        {
            f"{port.name} ({port.protocol})"
            for pod in live
            for container in pod.containers
            for port in container.ports
            if port.name
        }
    )
    return CHECK.finding(
        service=str(service.key),
        port=only_port(item.ports),
        frontend=frontend_text(service, item.ports),
        expected=f"a container port named {', '.join(wanted)}",
        actual=f"declared: {', '.join(declared)}" if declared else "no container port has a name",
        message=(
            f"Port {port_list(item.ports)} of Service {service.key} asks for the target port {', '.join(wanted)}, and "
            f"none of the {len(live)} matching pod{'' if len(live) == 1 else 's'} declares a container port of that name "
            "and protocol: the port has no endpoints and connections to it fail."
        ),
        hint=(
            f"kubectl -n {service.key.namespace} get pods -l {selector_text(service)} "
            "-o jsonpath='{.items[*].spec.containers[*].ports}': name the container port, or use its number."
        ),
        affected=affected_ports(service, item.ports),
        evidence=(
            *from_api(view.cluster, "services", f"{service.key}: targetPort {', '.join(wanted)}"),
            *(
                line
                for pod in sorted(live, key=lambda pod: pod.key)[:3]
                for line in from_api(view.cluster, "pods", f"{pod.key}: no container port {', '.join(wanted)}")
            ),
        ),
    )


CHECK = Check(
    code="KD303",
    slug="target-port-undeclared",
    title="The target port is a name that no pod declares",
    severity=Severity.ERROR,
    explanation="""\
`targetPort` may be a name. The endpoints controller then looks for a container port of that name and of the Service
port's protocol on every pod (sidecars included) and leaves out the pods that have none. If no pod has one, the Service
port has no endpoints, ready pods or not.

**What it does to traffic.** kube-proxy refuses connections to that port of the Service.

**How it is found.** Named target ports of Services are looked up in the containers of the matching pods; only ports that
have no usable endpoint are reported.

**What is left alone.** A target port given as a number need not be declared: `containerPort` is documentation. A name that
some of the pods declare works for those pods. A port that has endpoints all the same, because somebody else writes them.
""",
    hint="Name the container port in the pod template as the Service does, or give targetPort as a number.",
    run=run,
)
