"""KD310: a Service port whose name and protocol no slice port has."""

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
    reads_slices,
    shortages_by,
    slices_of,
)
from kdiag.model.addresses import Protocol
from kdiag.model.cluster import ClusterState, Service
from kdiag.model.report import Finding, Severity
from kdiag.model.view import View


def run(view: View) -> Iterable[Finding]:
    """One finding per Service."""
    for item in shortages_by(view, Lack.PORT_NAME):
        yield _finding(view, item)


def _finding(view: View, item: Shortage) -> Finding:
    service = item.service
    wanted = sorted({_spelled(port.name, port.protocol) for port in item.ports})
    offered = _offered(view.cluster, service)
    found = ", ".join(sorted({text for _, text in offered})) or "none"
    kind = "endpointslices" if reads_slices(view.cluster) else "endpoints"
    return CHECK.finding(
        service=str(service.key),
        port=only_port(item.ports),
        frontend=frontend_text(service, item.ports),
        expected=f"endpoint port {', '.join(wanted)}",
        actual=f"endpoint ports: {found}",
        message=(
            f"Service {service.key} has usable endpoints, but none for port {port_list(item.ports)}: kube-proxy joins "
            f"Service ports and endpoint ports by name and protocol, and the endpoints are offered as {found}. "
            "Connections to the port fail."
        ),
        hint=(
            f"kubectl -n {service.key.namespace} get endpointslices -l kubernetes.io/service-name={service.key.name} "
            "-o yaml: give the endpoint port the name of the Service port."
        ),
        affected=affected_ports(service, item.ports),
        evidence=tuple(
            line for place, text in offered[:5] for line in from_api(view.cluster, kind, f"{place}: port {text}")
        ),
    )


def _offered(state: ClusterState, service: Service) -> tuple[tuple[str, str], ...]:
    """(slice, port) pairs, sorted."""
    if reads_slices(state):
        found = {
            (str(item.meta.key), _spelled(port.name, port.protocol, without_number=port.port is None))
            for item in slices_of(state, service)
            for port in item.ports
        }
    else:
        listed = state.endpoints_by_service.get(service.key)
        found = {
            (str(service.key), _spelled(port_name, protocol))
            for _, port_name, protocol, _ in (listed.addresses if listed is not None else ())
        }
    return tuple(sorted(found))


def _spelled(port_name: str, protocol: Protocol, *, without_number: bool = False) -> str:
    text = f'"{port_name}" ({protocol})'
    return f"{text} without a number, which kube-proxy skips" if without_number else text


CHECK = Check(
    code="KD310",
    slug="port-name-mismatch",
    title="The endpoints have other port names than the Service",
    severity=Severity.ERROR,
    explanation="""\
kube-proxy joins a Service port to the port of an EndpointSlice that has the same name and the same protocol; the number
in the slice is where traffic goes. A slice port under another name, with another protocol, or without a number is passed
over. This happens where slices or Endpoints are written by hand or by an operator, and where a port was renamed.

**What it does to traffic.** The Service port has no endpoints although the slices show ready addresses: connections are
refused.

**How it is found.** Service ports without usable endpoints are compared with the ports of all slices of the Service.

**What is left alone.** Names that match and endpoints that are not ready (KD302). An unnamed Service port and a slice port
with an empty name match.
""",
    hint="Give the port of the EndpointSlice (or Endpoints) the same name and protocol as the port of the Service.",
    run=run,
)
