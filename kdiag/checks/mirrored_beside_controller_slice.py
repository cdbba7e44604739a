"""KD305: a left-over mirrored slice beside the slices of the controller."""

from __future__ import annotations

from collections.abc import Iterable

from kdiag.checks.evidence import from_api
from kdiag.checks.interface import Check
from kdiag.checks.service_endpoints import MIRROR_CONTROLLER, SLICE_CONTROLLER, is_served, slices_of
from kdiag.model.cluster import ClusterState, Service
from kdiag.model.endpoints import EndpointSlice
from kdiag.model.objects import ObjectKey
from kdiag.model.report import Affected, Finding, Severity
from kdiag.model.view import View


def run(view: View) -> Iterable[Finding]:
    """One finding per Service."""
    earlier, found = view.of_both(_left_over)
    for key, (service, slices) in found.items():
        if key in earlier:
            yield _finding(view, service, slices)


def _left_over(state: ClusterState) -> dict[ObjectKey, tuple[Service, tuple[EndpointSlice, ...]]]:
    """Services whose slices of one maker should have gone when the selector came or went, with those slices."""
    out: dict[ObjectKey, tuple[Service, tuple[EndpointSlice, ...]]] = {}
    for service in sorted(state.services, key=lambda item: item.key):
        if not is_served(service):
            continue
        filled = [item for item in slices_of(state, service) if item.endpoints]
        mirrored = tuple(item for item in filled if item.managed_by == MIRROR_CONTROLLER)
        selected = tuple(item for item in filled if item.managed_by == SLICE_CONTROLLER)
        # Mirroring is for Services without a selector, selecting for those with one; an empty slice harms nobody.
        left_over = mirrored if service.selector else (selected if mirrored else ())
        if left_over:
            out[service.key] = (service, left_over)
    return out


def _finding(view: View, service: Service, slices: tuple[EndpointSlice, ...]) -> Finding:
    addresses = sorted({endpoint.address_text for item in slices for endpoint in item.endpoints})
    others = {
        endpoint.address
        for item in slices_of(view.cluster, service)
        if item not in slices
        for endpoint in item.endpoints
    }
    doubled = all(endpoint.address in others for item in slices for endpoint in item.endpoints)
    makers = "mirrored from an Endpoints object" if service.selector else "made from a selector that is gone"
    names = ", ".join(sorted(str(item.meta.key) for item in slices))
    effect = (
        "They name the same addresses as the other slices, for now."
        if doubled
        else "kube-proxy uses every slice of a Service: part of the traffic goes to these addresses."
    )
    return CHECK.finding(
        severity=Severity.INFO if doubled else None,
        service=str(service.key),
        expected="slices of one maker",
        actual=f"left over: {names}",
        message=(
            f"Service {service.key} {'has a selector' if service.selector else 'has no selector'}, and still has "
            f"EndpointSlices that were {makers}: {names}, with {', '.join(addresses[:5])}"
            f"{', …' if len(addresses) > 5 else ''}. {effect}"
        ),
        hint=f"kubectl -n {service.key.namespace} delete endpointslice "
        f"{' '.join(sorted(item.meta.key.name for item in slices))}, if nobody needs these addresses.",
        affected=(Affected(service=str(service.key)),),
        evidence=tuple(
            line
            for item in sorted(slices, key=lambda item: item.meta.key)
            for line in from_api(
                view.cluster,
                "endpointslices",
                f"{item.meta.key}: managed-by {item.managed_by}, "
                f"{len(item.endpoints)} endpoint{'' if len(item.endpoints) == 1 else 's'}",
            )
        ),
    )


CHECK = Check(
    code="KD305",
    slug="mirrored-beside-controller-slice",
    title="Left-over EndpointSlices feed the Service",
    severity=Severity.WARNING,
    explanation="""\
A Service with a selector has slices of the EndpointSlice controller; a Service without one may have slices that the
mirroring controller copies from a hand-made Endpoints object. When a selector is added or removed, the slices of the
other maker should go, and sometimes stay (kubernetes issues 97424, 105987, 111929).

**What it does to traffic.** kube-proxy adds up all slices of a Service, so a share of the connections goes to the
addresses in the left-over slice, which nobody keeps up to date.

**How it is found.** By the label `endpointslice.kubernetes.io/managed-by` of slices that hold endpoints: mirrored ones on
a Service with a selector, or selected ones beside mirrored ones on a Service without.

**What is left alone.** An empty slice of either maker, and slices that another program manages. Left-over slices that name
only addresses which the right slices have too are worth knowing (info).
""",
    hint="Delete the left-over EndpointSlice, and the Endpoints object that it was mirrored from.",
    run=run,
)
