"""What cannot be told of a node whose rules were read and compared."""

from __future__ import annotations

from kdiag.model.addresses import Address
from kdiag.model.dataplane import DataPlane, FrontendKind
from kdiag.model.difference import Comparison
from kdiag.model.report import Gap, GapKind


def cached_gaps(plane: DataPlane, addresses: frozenset[Address]) -> list[Gap]:
    """The Services whose ClusterIPs are among these, for which the node-local DNS cache answers."""
    aside = {
        str(item.service_port.service)
        for frontend, item in plane.behaviours.items()
        if frontend.kind is FrontendKind.CLUSTER_IP and frontend.address in addresses and item.service_port
    }
    return [
        Gap(
            node=plane.node,
            subject=service,
            reason="the node-local DNS cache answers for its ClusterIP on this node",
            kind=GapKind.NOT_APPLICABLE,
        )
        for service in sorted(aside)
    ]


def contradiction_gaps(expected: DataPlane) -> list[Gap]:
    """Service ports whose slices contradict each other so much that nothing is expected of their addresses."""
    ports = {str(item.service_port) for item in expected.behaviours.values() if not item.cases and item.service_port}
    return [
        Gap(
            node=expected.node,
            subject=f"cannot tell: {port}",
            reason="its EndpointSlices contradict each other about too many endpoints",
        )
        for port in sorted(ports)
    ]


def unclear_gaps(comparison: Comparison) -> list[Gap]:
    """What is not settled, or hangs on a rule that is not understood."""
    gaps = []
    for item in comparison.unclear:
        services = sorted({str(service_port.service) for service_port in item.service_ports})
        named = ", ".join(services[:5]) + (f" and {len(services) - 5} more" if len(services) > 5 else "")
        where = "; ".join(f"{rule.source}:{rule.line} {rule.text}" for rule in item.rules[:3])
        gaps.append(
            Gap(
                node=comparison.node,
                subject=(f"not settled: {named}" if named else "not settled")
                if item.unsettled
                else f"cannot tell: {named}",
                reason=f"{item.reason}: {where}" if where else item.reason,
            )
        )
    return gaps
