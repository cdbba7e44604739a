"""KD304: EndpointSlices of the controller that do not say what the pods say."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from datetime import timedelta

from kdiag.checks.evidence import from_api
from kdiag.checks.interface import Check
from kdiag.checks.service_endpoints import (
    SLICE_CONTROLLER,
    Lack,
    Shortage,
    declares,
    is_able,
    is_served,
    publishes_not_ready,
    service_families,
    shortages_by,
    slices_of,
)
from kdiag.model.addresses import Address, family_of
from kdiag.model.cluster import ClusterState, Pod, Service
from kdiag.model.endpoints import Endpoint
from kdiag.model.objects import ObjectKey
from kdiag.model.report import Affected, Finding, Severity
from kdiag.model.view import View

YOUNG = timedelta(seconds=5)
"""A pod younger than this may not have reached the slices yet. Counts only where the API was read once: between two
readings there is a pause that is longer than the controller's lag."""


class Kind(enum.StrEnum):
    """What is wrong with one pod's entry."""

    GONE = "lists a pod that no longer exists"
    ENDED = "lists a pod that has ended"
    MOVED = "lists a pod under an address that it does not have"
    NOT_READY = "calls a pod ready that is not"
    MISSING = "lacks a ready pod"
    HELD_BACK = "calls a ready pod not ready"


Fault = tuple[Kind, ObjectKey, str]
"""What is wrong, with which pod, and the address concerned."""


def run(view: View) -> Iterable[Finding]:
    """One finding per Service."""
    unlisted = {item.service.key: item for item in shortages_by(view, Lack.UNLISTED)}
    settled = None if view.before is view.cluster else view.before
    for service in sorted(view.cluster.services, key=lambda item: item.key):
        if not is_served(service):
            continue
        faults = _faults(view, view.cluster, service)
        if settled is not None and faults:
            earlier = settled.service_by_key.get(service.key)
            before = _faults(view, settled, earlier) if earlier is not None else {}
            faults = {fault: text for fault, text in faults.items() if fault in before}
        shortage = unlisted.get(service.key)
        if faults:
            yield _finding(view, service, faults, shortage)
        elif shortage is not None and not _only_young(view, service):
            yield _no_list(view, shortage)


def _faults(view: View, state: ClusterState, service: Service) -> Mapping[Fault, str]:
    """What is wrong with the Service's slices, with the slice that it is wrong in."""
    if not {"pods", "endpointslices"} <= state.seen:
        return {}
    own = [item for item in slices_of(state, service) if item.managed_by == SLICE_CONTROLLER]
    found: dict[Fault, str] = {}
    for item in own:
        for endpoint in item.endpoints:
            fault = _stale(view, state, service, endpoint)
            if fault is not None:
                found.setdefault(fault, str(item.meta.key))
    # The controller gives every Service with a selector a slice, be it an empty one. Without any it is not at work here,
    # or has not come round to this Service; if that leaves the Service without endpoints, it is said all the same.
    if own:
        for fault in _missing(view, state, service):
            found.setdefault(fault, "")
    return found


def _stale(view: View, state: ClusterState, service: Service, endpoint: Endpoint) -> Fault | None:
    """What is wrong with an endpoint that claims to be ready. Others get no traffic while any is ready."""
    if endpoint.ready is False or endpoint.target_kind != "Pod" or endpoint.target is None:
        return None
    pod = state.pod_by_key.get(endpoint.target)
    if pod is None:
        return Kind.GONE, endpoint.target, str(endpoint.address)
    # A pod that is on its way out, or has just come, is the controller's next piece of work.
    if pod.meta.deleted_at is not None or _is_young(view, pod):
        return None
    if pod.terminated:
        return Kind.ENDED, pod.key, str(endpoint.address)
    if endpoint.address not in pod.ips:
        return Kind.MOVED, pod.key, str(endpoint.address)
    if not pod.ready and not publishes_not_ready(service):
        return Kind.NOT_READY, pod.key, str(endpoint.address)
    return None


def _missing(view: View, state: ClusterState, service: Service) -> Iterable[Fault]:
    """Ready pods that the selector matches and that the slices, by whomever they were made, do not offer."""
    ready: dict[Address, bool] = {}
    for item in slices_of(state, service):
        for endpoint in item.endpoints:
            ready[endpoint.address] = ready.get(endpoint.address, False) or endpoint.ready is not False
    families = service_families(service)
    for pod in state.pods_selected_by(service):
        if not is_able(service, pod) or _is_young(view, pod):
            continue
        if service.ports and not any(declares(pod, port) for port in service.ports):
            continue
        addresses = [address for address in pod.ips if family_of(address) in families]
        if service.headless and not service.ip_families and any(address in ready for address in addresses):
            continue  # the API does not say which families the Service has: one is enough
        for address in addresses:
            if address not in ready:
                yield Kind.MISSING, pod.key, str(address)
            elif not ready[address]:
                yield Kind.HELD_BACK, pod.key, str(address)


def _is_young(view: View, pod: Pod) -> bool:
    if view.before is not view.cluster or view.taken_at is None or pod.meta.created_at is None:
        return False
    return view.taken_at - pod.meta.created_at < YOUNG


def _only_young(view: View, service: Service) -> bool:
    able = [pod for pod in view.cluster.pods_selected_by(service) if is_able(service, pod)]
    return all(_is_young(view, pod) for pod in able)


def _finding(view: View, service: Service, faults: Mapping[Fault, str], shortage: Shortage | None) -> Finding:
    ordered = sorted(faults, key=lambda fault: (list(Kind).index(fault[0]), fault[1], fault[2]))
    lines = [f"{kind}: {pod} at {address}" for kind, pod, address in ordered]
    shown = lines[:8] + ([f"and {len(lines) - 8} more"] if len(lines) > 8 else [])
    useless = shortage is not None
    stale = any(fault[0] in (Kind.GONE, Kind.ENDED, Kind.MOVED, Kind.NOT_READY) for fault in ordered)
    if useless:
        effect = "The Service has no usable endpoint although pods are ready: connections to it fail."
    elif stale:
        effect = "A share of the connections goes to addresses that nobody answers at."
    else:
        effect = "The pods concerned get no traffic."
    return CHECK.finding(
        severity=Severity.ERROR if useless else None,
        service=str(service.key),
        expected="endpoints that follow the pods",
        actual="; ".join(str(kind) for kind in Kind if any(fault[0] is kind for fault in ordered)),
        message="\n".join(
            [f"The EndpointSlices of Service {service.key} do not follow its pods. {effect} The slice", *shown]
        ),
        affected=(Affected(service=str(service.key)),),
        evidence=tuple(
            line
            for fault in ordered[:8]
            for line in from_api(
                view.cluster,
                "endpointslices" if faults[fault] else "pods",
                f"{faults[fault]}: {fault[1]} at {fault[2]}" if faults[fault] else f"{fault[1]}: ready, {fault[2]}",
            )
        ),
    )


def _no_list(view: View, shortage: Shortage) -> Finding:
    """Ready pods, and no endpoint list at all that names them."""
    service = shortage.service
    able = sorted(str(pod.key) for pod in shortage.pods or () if is_able(service, pod))
    return CHECK.finding(
        severity=Severity.ERROR,
        service=str(service.key),
        expected=f"endpoints for {', '.join(able[:5])}",
        actual="none of them is listed",
        message=(
            f"Service {service.key} selects ready pods ({', '.join(able[:5])}{', …' if len(able) > 5 else ''}), and its "
            "endpoint lists name none of them: connections to it fail."
        ),
        affected=(Affected(service=str(service.key)),),
        evidence=tuple(
            line
            for pod in sorted(shortage.pods or (), key=lambda pod: pod.key)[:5]
            for line in from_api(view.cluster, "pods", f"{pod.key}: {pod.phase}")
        ),
    )


CHECK = Check(
    code="KD304",
    slug="endpoints-disagree-with-pods",
    title="The EndpointSlices do not follow the pods",
    severity=Severity.WARNING,
    explanation="""\
The EndpointSlice controller (in kube-controller-manager) writes one endpoint for every pod that a Service selects. Here
its slices say something else than the pods: they list as ready a pod that is gone, has ended, has another address or is
not ready, or they lack a pod that is ready. The controller is not running, cannot write, or works through a backlog.

**What it does to traffic.** kube-proxy follows the slices. Connections to addresses that nobody has any more time out or,
worse, reach another pod; pods that are not listed get no traffic.

**How it is found.** Slices with `managed-by: endpointslice-controller.k8s.io` are compared with the pods, family by
family. Where the API was read twice, a disagreement must have stood in both readings.

**What is left alone.** Slices that somebody else manages. Pods that terminate, have no address yet, have ended, or do not
declare a named target port. Endpoints that are not ready. Not-ready pods of Services with `publishNotReadyAddresses`.
Where the API was read only once, pods younger than 5 seconds.
""",
    hint=(
        "Look at the log of kube-controller-manager and at its leader lease: "
        "kubectl -n kube-system get lease kube-controller-manager -o yaml."
    ),
    run=run,
)
