"""The cluster beside its findings, for whoever draws a picture of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from kdiag.checks.interface import Check
from kdiag.checks.service_endpoints import SERVICE_PROXY_LABEL
from kdiag.expect.dataplane import NEWEST
from kdiag.expect.endpoints import candidates_of
from kdiag.model.addresses import Family, SocketAddress
from kdiag.model.cluster import Service
from kdiag.model.difference import Difference
from kdiag.model.objects import ObjectKey
from kdiag.model.overview import CheckNote, NodeOverview, Overview, ServiceOverview, ServiceTrace, Unjudged
from kdiag.model.report import Finding, Severity
from kdiag.model.trace import TraceEndpoint
from kdiag.model.view import NodeView, View
from kdiag.pipeline.ranges import address_ranges
from kdiag.pipeline.tracing import KIND_ORDER, POSITION_ORDER, endpoint_state
from kdiag.pipeline.walking import walk_in_full

ENDPOINTS_LISTED = 50
"""Endpoints of a Service that are listed; a Service may have thousands."""

TRACES = 40
"""Services that a walk is shown for."""

_NOT_TOLD = "its rules differ from what is expected, and no finding of this report says so: the check was left out"
_NOT_EXPECTED = "nothing says what its address ought to do on this node"

_Places = dict[tuple[str, str], Severity]
"""Node and Service to the worst that findings say of the Service on the node."""


def overview_of(
    view: View,
    findings: Sequence[Finding],
    *,
    run: Sequence[Check],
    left_out: Sequence[Check],
    services: Sequence[ObjectKey],
    namespace: str | None,
) -> Overview:
    """Everything beside the findings; `services` and `namespace` narrow it as they narrow the findings."""
    wanted = [
        service
        for service in sorted(view.cluster.services, key=lambda item: item.key)
        if (not services or service.key in services) and namespace in (None, service.key.namespace)
    ]
    places = _places(findings)
    found = {finding.code for finding in findings}
    traces, traces_left_out = _traces(view, {service.key for service in wanted}, places)
    return Overview(
        nodes=tuple(_node(node) for node in view.nodes),
        services=tuple(_service(view, service) for service in wanted),
        unjudged=tuple(_unjudged(view, wanted, places)),
        ranges=address_ranges(view),
        checks=tuple(
            CheckNote(code=check.code, slug=check.slug, title=check.title, explanation=check.explanation)
            for check in run
            if check.code in found
        ),
        checks_left_out=tuple(sorted(check.code for check in left_out)),
        traces=traces,
        traces_left_out=traces_left_out,
    )


def _node(node: NodeView) -> NodeOverview:
    version = f"{node.version[0]}.{node.version[1]}" if node.version is not None else None
    return NodeOverview(
        node=node.name,
        judged=node.comparison is not None,
        mode=str(node.mode) if node.mode is not None else node.other_proxy,
        version=version,
    )


def _service(view: View, service: Service) -> ServiceOverview:
    endpoints = [] if service.type == "ExternalName" else list(_endpoints(view, service))
    return ServiceOverview(
        service=str(service.key),
        type=service.type,
        addresses=tuple(_addresses(service)),
        endpoints=tuple(endpoints[:ENDPOINTS_LISTED]),
        endpoint_count=len(endpoints),
        note=_note(service),
    )


def _note(service: Service) -> str:
    if service.type == "ExternalName":
        return "ExternalName: its name stands for another name, and no rules belong to it"
    if service.headless:
        return "headless: its name resolves to its endpoints, and no rules belong to it"
    if SERVICE_PROXY_LABEL in service.meta.labels:
        return "another proxy than kube-proxy serves it, as its label says"
    return "" if service.cluster_ips else "no cluster IP was given to it yet"


def _addresses(service: Service) -> Iterator[str]:
    given = [("cluster IP", address) for address in service.cluster_ips]
    given += [("external IP", address) for address in service.external_ips]
    given += [("load-balancer IP", item.ip) for item in service.ingress if item.ip is not None]
    for item in service.ports:
        for words, address in given:
            yield f"{words} {SocketAddress(address, item.port)}/{item.protocol}"
        if item.node_port:
            yield f"node port {item.node_port}/{item.protocol}"


def _endpoints(view: View, service: Service) -> Iterator[TraceEndpoint]:
    for item in service.ports:
        for family in Family:
            ways = candidates_of(view.cluster, service, item, family, NEWEST)
            for candidate in ways[0] if ways else ():
                pods = view.cluster.pods_by_address.get(candidate.at.address, ())
                pod = pods[0] if len(pods) == 1 else None
                yield TraceEndpoint(
                    address=str(candidate.at),
                    pod=str(pod.key) if pod else None,
                    node=candidate.node_name or (pod.node_name if pod else None),
                    state=endpoint_state(candidate),
                )


def _places(findings: Iterable[Finding]) -> _Places:
    """The worst severity by node and Service; an empty node stands for all nodes."""
    worst: _Places = {}
    for finding in findings:
        for place in finding.places:
            spot = (place.node or "", place.service or "")
            if spot[1] and (spot not in worst or finding.severity.rank < worst[spot].rank):
                worst[spot] = finding.severity
    return worst


def _severity(places: _Places, node: str, service: str) -> Severity | None:
    """The worst that a finding says of the Service on the node, or everywhere."""
    spots = [places[spot] for spot in ((node, service), ("", service)) if spot in places]
    return min(spots, key=lambda item: item.rank) if spots else None


def _unjudged(view: View, services: Sequence[Service], places: _Places) -> Iterator[Unjudged]:
    """What no verdict is possible on, node by node and reason by reason."""
    names = {service.key: str(service.key) for service in services if not _note(service)}
    for node in view.nodes:
        if node.comparison is None:
            continue
        reasons: dict[str, set[str]] = {}
        for unclear in node.comparison.unclear:
            for key in unclear.service_ports:
                if key.service in names:
                    reasons.setdefault(unclear.reason, set()).add(names[key.service])
        for difference in _differences(node):
            label = names.get(difference.service_port.service) if difference.service_port is not None else None
            if label is not None and _severity(places, node.name, label) is None:
                reasons.setdefault(_NOT_TOLD, set()).add(label)
        planned = node.expected.behaviours.values() if node.expected is not None else ()
        known = {item.service_port.service for item in planned if item.service_port is not None}
        known |= node.twins
        missing = {label for key, label in names.items() if key not in known}
        if missing:
            reasons.setdefault(_NOT_EXPECTED, set()).update(missing)
        for reason, found in sorted(reasons.items()):
            yield Unjudged(node=node.name, reason=reason, services=tuple(sorted(found)))


def _differences(node: NodeView) -> Iterator[Difference]:
    for group in node.comparison.groups if node.comparison is not None else ():
        yield from group.differences


def _traces(view: View, wanted: set[ObjectKey], places: _Places) -> tuple[tuple[ServiceTrace, ...], int]:
    """One walk for each Service that a finding tells of, the worst first, and how many Services have none."""
    worst: dict[ObjectKey, tuple[tuple[int, ...], NodeView, Difference]] = {}
    for node in view.nodes:
        for difference in _differences(node):
            key = difference.service_port.service if difference.service_port is not None else None
            severity = _severity(places, node.name, str(key)) if key in wanted else None
            if key is None or severity is None:
                continue
            frontend = difference.frontend
            rank = (severity.rank, KIND_ORDER.index(frontend.kind), POSITION_ORDER.index(frontend.position))
            if key not in worst or rank < worst[key][0]:
                worst[key] = (rank, node, difference)
    ordered = sorted(worst.items(), key=lambda item: (item[1][0][0], item[0]))
    traces = []
    for key, (_, node, difference) in ordered[:TRACES]:
        walk = walk_in_full(view, node, difference.frontend, None)
        if walk is not None:
            traces.append(ServiceTrace(service=str(key), walk=walk))
    return tuple(sorted(traces, key=lambda item: item.service)), max(len(ordered) - TRACES, 0)
