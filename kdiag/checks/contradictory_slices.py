"""KD309: EndpointSlices of one Service that contradict each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kdiag.checks.evidence import from_api
from kdiag.checks.interface import Check
from kdiag.checks.service_endpoints import is_served, slices_of
from kdiag.model.addresses import Address, Family, Protocol, SocketAddress
from kdiag.model.cluster import ClusterState, Service
from kdiag.model.endpoints import Endpoint, EndpointSlice
from kdiag.model.objects import ObjectKey
from kdiag.model.report import Affected, Finding, Severity
from kdiag.model.view import View

Place = tuple[Address, int, str, Protocol]
"""An endpoint as kube-proxy identifies it: address, port, port name and protocol."""


def run(view: View) -> Iterable[Finding]:
    """One finding per Service."""
    earlier, found = view.of_both(_contradictions)
    for key, (service, places) in found.items():
        lasting = {place: seen for place, seen in places.items() if key in earlier and place in earlier[key][1]}
        if lasting:
            yield _finding(view, service, lasting)


def _contradictions(
    state: ClusterState,
) -> dict[ObjectKey, tuple[Service, dict[Place, list[tuple[EndpointSlice, Endpoint]]]]]:
    out: dict[ObjectKey, tuple[Service, dict[Place, list[tuple[EndpointSlice, Endpoint]]]]] = {}
    for service in sorted(state.services, key=lambda item: item.key):
        if service.headless or not is_served(service):
            continue
        slices = slices_of(state, service)
        if _are_plain(slices):
            continue
        places: dict[Place, list[tuple[EndpointSlice, Endpoint]]] = {}
        for item in slices:
            for port in item.ports:
                if port.port is None:
                    continue
                for endpoint in item.endpoints:
                    place = (endpoint.address, port.port, port.name, port.protocol)
                    places.setdefault(place, []).append((item, endpoint))
        found = {place: seen for place, seen in places.items() if len({_claim(endpoint) for _, endpoint in seen}) > 1}
        if found:
            out[service.key] = (service, found)
    return out


def _are_plain(slices: Sequence[EndpointSlice]) -> bool:
    """True if each address is named once, so that nothing can be said of it twice."""
    named: dict[Family | None, list[int]] = {}
    for item in slices:
        ready = item.ready
        if ready is None:
            return False
        named.setdefault(item.family, []).extend(ready.numbers)
    return all(len(set(numbers)) == len(numbers) for numbers in named.values())


def _claim(endpoint: Endpoint) -> tuple[bool, bool, bool, str | None]:
    """What an entry says of its address, as far as it decides where traffic goes; nil conditions filled in."""
    return (
        endpoint.ready is not False,
        endpoint.serving is not False if endpoint.serving is not None else endpoint.ready is not False,
        endpoint.terminating is True,
        endpoint.node_name,
    )


def _spelled(endpoint: Endpoint) -> str:
    ready, serving, terminating, node = _claim(endpoint)
    words = ["ready" if ready else "not ready"]
    if not ready and serving:
        words.append("serving")
    if terminating:
        words.append("terminating")
    return f"{', '.join(words)} on {node or 'no node'}"


def _finding(view: View, service: Service, places: dict[Place, list[tuple[EndpointSlice, Endpoint]]]) -> Finding:
    ordered = sorted(places, key=lambda place: (int(place[0]), place[1:]))
    lines = []
    for place in ordered[:5]:
        claims = sorted({f"{item.meta.key}: {_spelled(endpoint)}" for item, endpoint in places[place]})
        lines.append(f"{SocketAddress(place[0], place[1])} ({place[3]}): {'; '.join(claims)}")
    if len(ordered) > 5:
        lines.append(f"and {len(ordered) - 5} more")
    return CHECK.finding(
        service=str(service.key),
        expected="one statement about each endpoint",
        actual=f"{len(ordered)} endpoint{'' if len(ordered) == 1 else 's'} with contradicting statements",
        message="\n".join(
            [
                f"EndpointSlices of Service {service.key} contradict each other. kube-proxy keeps whichever entry it met "
                "first, so healthy nodes may treat these endpoints differently:",
                *lines,
            ]
        ),
        affected=(Affected(service=str(service.key)),),
        evidence=tuple(
            line
            for place in ordered[:5]
            for item, endpoint in sorted(places[place], key=lambda pair: (pair[0].meta.key, _spelled(pair[1])))
            for line in from_api(
                view.cluster,
                "endpointslices",
                f"{item.meta.key}: {SocketAddress(place[0], place[1])} {_spelled(endpoint)}",
            )
        ),
    )


CHECK = Check(
    code="KD309",
    slug="contradictory-slices",
    title="EndpointSlices of the Service contradict each other",
    severity=Severity.INFO,
    explanation="""\
Two entries in the slices of one Service name the same address and port and say different things of it: ready in one and
not in the other, terminating in one, or on another node. This happens when two programs write slices for one Service, and
when a new pod has the address of an old one whose object is still there.

**What it does to traffic.** kube-proxy keeps one entry for each address and port, and which one depends on what it met
first. Healthy nodes can differ: one uses the endpoint, another does not.

**How it is found.** All slices of a Service are added up. Where the API was read twice, the contradiction must have stood
in both readings: an endpoint that moves from one slice to another is in both for a moment.

**What is left alone.** Entries that say the same twice; kube-proxy counts them once. Headless Services. The nodes: they
are not to blame, and kdiag accepts either reading on them.
""",
    hint="Find out who writes these slices (label endpointslice.kubernetes.io/managed-by) and keep one writer.",
    run=run,
)
