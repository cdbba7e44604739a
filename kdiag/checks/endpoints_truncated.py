"""KD306: an Endpoints object that was cut at 1000 addresses."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.evidence import from_api
from kdiag.checks.interface import Check
from kdiag.model.proxy import ProxyMode, Version
from kdiag.model.report import Affected, Finding, Severity
from kdiag.model.view import NodeView, View

OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
"""`warning` in 1.21 (more than 1000 addresses), `truncated` from 1.22 on (only 1000 of them are listed)."""

SLICES_SINCE: Version = (1, 19)
"""First kube-proxy that reads EndpointSlices by default on Linux."""


def run(view: View) -> Iterable[Finding]:
    """One finding per Endpoints object."""
    readers = sorted(node.name for node in view.nodes if _reads_endpoints(node))
    for item in sorted(view.cluster.endpoints, key=lambda item: item.meta.key):
        mark = item.meta.annotations.get(OVER_CAPACITY)
        if mark is None:
            continue
        cut = mark == "truncated"
        affects = cut and bool(readers)
        what = "lists only 1000 of its addresses" if cut else "has more than 1000 addresses"
        effect = (
            f"kube-proxy on {', '.join(readers[:5])} reads Endpoints objects and sends nothing to the others."
            if affects
            else "kube-proxy reads EndpointSlices here and is not affected; other readers of Endpoints objects are."
        )
        yield CHECK.finding(
            severity=Severity.WARNING if affects else None,
            service=str(item.meta.key),
            expected="at most 1000 addresses, or readers that use EndpointSlices",
            actual=f"{OVER_CAPACITY}: {mark}",
            message=f"The Endpoints object {item.meta.key} {what}. {effect}",
            affected=[Affected(node=name, service=str(item.meta.key)) for name in readers]
            if affects
            else [Affected(service=str(item.meta.key))],
            evidence=from_api(view.cluster, "endpoints", f"{item.meta.key}: {OVER_CAPACITY}: {mark}"),
        )


def _reads_endpoints(node: NodeView) -> bool:
    """True if the node's kube-proxy takes its endpoints from Endpoints objects."""
    if node.version is None:
        return False
    gates = node.config.feature_gates if node.config is not None else {}
    if node.version < SLICES_SINCE:
        return not gates.get("EndpointSliceProxying", False)
    return gates.get("EndpointSliceProxying") is False or node.mode is ProxyMode.USERSPACE


CHECK = Check(
    code="KD306",
    slug="endpoints-truncated",
    title="The Endpoints object is cut at 1000 addresses",
    severity=Severity.INFO,
    explanation="""\
The old Endpoints API holds at most 1000 addresses a Service. From Kubernetes 1.22 on the controller cuts the object and
marks it with the annotation `endpoints.kubernetes.io/over-capacity: truncated`; 1.21 only warned.

**What it does to traffic.** Nothing where kube-proxy reads EndpointSlices, the default from 1.19 on. Programs that still
read Endpoints (ingress controllers, meshes, kube-proxy in userspace mode or with `EndpointSliceProxying` off) see only a
part of the pods.

**How it is found.** By the annotation. It is a warning if a kube-proxy of the cluster reads Endpoints.

**What is left alone.** Large Services without the annotation. kdiag itself goes by EndpointSlices.
""",
    hint="Make the readers of this object use EndpointSlices.",
    run=run,
)
