"""Which endpoints the API gives a Service, and why a Service port has none.

Several checks tell one story each about a Service without endpoints. The story is made up here, once, so that a
Service gets the most precise one and never two.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

from msgspec import Struct

from kdiag.model.addresses import Family, Protocol, SocketAddress, family_of
from kdiag.model.cluster import ClusterState, Pod, Service, ServicePort
from kdiag.model.endpoints import Endpoint, EndpointSlice
from kdiag.model.proxy import Version, parse_version
from kdiag.model.report import Affected
from kdiag.model.view import View

SLICE_CONTROLLER = "endpointslice-controller.k8s.io"
MIRROR_CONTROLLER = "endpointslicemirroring-controller.k8s.io"

SERVICE_PROXY_LABEL = "service.kubernetes.io/service-proxy-name"
"""A Service (or slice) with this label, whatever its value, is left to another proxy (KEP-2447)."""

TOLERATE_UNREADY = "service.alpha.kubernetes.io/tolerate-unready-endpoints"
"""The annotation before spec.publishNotReadyAddresses; the controllers have gone on honouring it."""

TERMINATING_SINCE: Version = (1, 26)
"""First kube-proxy that by default uses serving, terminating endpoints where no ready ones are left (KEP-1669)."""

TERMINATING_GATE = "ProxyTerminatingEndpoints"

FAMILIES = (Family.IPV4, Family.IPV6)


class Lack(enum.Enum):
    """Why Service ports have no usable endpoint. One check reports each."""

    NO_POD = enum.auto()
    """The selector matches no pod."""
    NOT_USABLE = enum.auto()
    """Pods match, or endpoints are written, but none is usable."""
    TARGET_PORT = enum.auto()
    """The target port is a name that no matching pod declares."""
    PORT_NAME = enum.auto()
    """The slices have usable endpoints, under other port names."""
    FAMILY = enum.auto()
    """There are usable endpoints or ready pods, but of another IP family."""
    UNLISTED = enum.auto()
    """Ready pods match and no slice lists them."""


class Shortage(Struct, frozen=True, kw_only=True):
    """A Service with at least one port that has no usable endpoint.

    `ports` are those ports in the order of the spec (empty for a headless Service without ports); `whole` is True if
    that is all of them. `pods` are the pods that the selector matches, None if pods were not recorded.
    """

    service: Service
    lack: Lack
    ports: tuple[ServicePort, ...]
    whole: bool
    pods: tuple[Pod, ...] | None


class Offer(Struct, frozen=True, kw_only=True):
    """The usable endpoints of a Service: their families, and the (family, port name, protocol) they are offered at.

    `named` holds what the slices name at all, with usable endpoints or without.
    """

    families: frozenset[Family]
    ports: frozenset[tuple[Family, str, Protocol]]
    named: frozenset[tuple[Family, str, Protocol]]


def is_served(service: Service) -> bool:
    """True for a Service that kube-proxy programs or that DNS answers with endpoints.

    Not ExternalName, not one left to another proxy by label, and none that still waits for its cluster IP.
    """
    if service.type == "ExternalName" or SERVICE_PROXY_LABEL in service.meta.labels:
        return False
    return (service.headless or bool(service.cluster_ips)) and service.meta.deleted_at is None


def publishes_not_ready(service: Service) -> bool:
    """True if the controllers call every endpoint of the Service ready."""
    return service.publish_not_ready or service.meta.annotations.get(TOLERATE_UNREADY) == "true"


def service_families(service: Service) -> tuple[Family, ...]:
    """The families that the Service has addresses of; both for a headless Service that does not say."""
    found = {family_of(address) for address in service.cluster_ips} or set(service.ip_families) or set(FAMILIES)
    return tuple(family for family in FAMILIES if family in found)


def uses_terminating(view: View) -> bool:
    """True if some kube-proxy of the cluster falls back to serving, terminating endpoints.

    Told from each node's proxy version and feature gate, without any from the API server's version.
    """
    found = False
    known = False
    for node in view.nodes:
        gate = node.config.feature_gates.get(TERMINATING_GATE) if node.config is not None else None
        if gate is not None:
            known, found = True, found or gate
        elif node.version is not None:
            known, found = True, found or node.version >= TERMINATING_SINCE
    if known:
        return found
    server = parse_version(view.cluster.server_version)
    return server is None or server >= TERMINATING_SINCE


def is_usable(endpoint: Endpoint, *, terminating: bool) -> bool:
    """True if a proxy may send traffic to the endpoint; `terminating` says whether it uses terminating ones.

    A missing condition counts as the good one, as in kube-proxy (pkg/proxy/endpointslicecache.go).
    """
    if endpoint.ready is not False:
        return True
    return terminating and endpoint.terminating is True and endpoint.serving is not False


def _has_usable(item: EndpointSlice, *, terminating: bool) -> bool:
    ready = item.ready
    if ready is not None:
        return len(ready.numbers) > 0
    return any(is_usable(endpoint, terminating=terminating) for endpoint in item.endpoints)


def has_endpoint_lists(state: ClusterState) -> bool:
    """True if the reading can tell which endpoints there are, from slices or from Endpoints objects."""
    return "endpointslices" in state.seen or "endpoints" in state.seen


def reads_slices(state: ClusterState) -> bool:
    """True if slices tell the endpoints. Clusters before 1.18 may keep Endpoints objects alone."""
    return "endpointslices" in state.seen and (bool(state.slices) or not state.endpoints)


def slices_of(state: ClusterState, service: Service) -> tuple[EndpointSlice, ...]:
    """The slices of a Service that hold addresses, by whomever they were made."""
    return tuple(item for item in state.slices_by_service.get(service.key, ()) if item.family is not None)


def offer_of(state: ClusterState, service: Service, *, terminating: bool) -> Offer:
    """The usable endpoints that the API gives a Service."""
    families: set[Family] = set()
    ports: set[tuple[Family, str, Protocol]] = set()
    named: set[tuple[Family, str, Protocol]] = set()
    if reads_slices(state):
        for item in state.slices_by_service.get(service.key, ()):
            family = item.family
            if family is None:
                continue
            # kube-proxy skips a slice port without a number: it means "all ports", which it cannot program.
            triples = {(family, port.name, port.protocol) for port in item.ports if port.port is not None}
            named |= triples
            if _has_usable(item, terminating=terminating):
                families.add(family)
                ports |= triples
    else:
        listed = state.endpoints_by_service.get(service.key)
        if listed is not None:
            ports = {(family_of(address), name, protocol) for address, name, protocol, _ in listed.addresses}
            families = {family for family, _, _ in ports}
            named = {(family_of(address), name, protocol) for address, name, protocol, _ in listed.not_ready_addresses}
            named |= ports
    return Offer(families=frozenset(families), ports=frozenset(ports), named=frozenset(named))


def declares(pod: Pod, port: ServicePort) -> bool:
    """True if the controller can resolve the port's target on the pod: a number always, a name if it is declared."""
    if not isinstance(port.target_port, str):
        return True
    return any(
        declared.name == port.target_port and declared.protocol is port.protocol
        for item in pod.containers
        for declared in item.ports
    )


def is_able(service: Service, pod: Pod) -> bool:
    """True if the pod ought to be a ready endpoint of a Service whose selector matches it."""
    if pod.terminated or pod.meta.deleted_at is not None or not pod.ips:
        return False
    return pod.ready or publishes_not_ready(service)


def shortages(view: View) -> tuple[Shortage, ...]:
    """Every served Service with a port without usable endpoints, in the order of their names.

    Where the API was read twice, only what held at both times.
    """
    return view.once(_lasting_shortages)


def _lasting_shortages(view: View) -> tuple[Shortage, ...]:
    terminating = uses_terminating(view)
    earlier, found = view.of_both(lambda state: _shortages(state, terminating=terminating))
    if earlier is found:
        return found
    settled = {item.service.key for item in earlier}
    return tuple(item for item in found if item.service.key in settled)


def shortages_by(view: View, lack: Lack) -> tuple[Shortage, ...]:
    """The shortages of one kind."""
    return tuple(item for item in shortages(view) if item.lack is lack)


def _shortages(state: ClusterState, *, terminating: bool) -> tuple[Shortage, ...]:
    if not has_endpoint_lists(state):
        return ()
    found = (_shortage(state, service, terminating=terminating) for service in state.services if is_served(service))
    return tuple(sorted((item for item in found if item is not None), key=lambda item: item.service.key))


def _shortage(state: ClusterState, service: Service, *, terminating: bool) -> Shortage | None:
    offer = offer_of(state, service, terminating=terminating)
    families = service_families(service)
    missing = tuple(
        port
        for port in service.ports
        if not any((family, port.name, port.protocol) in offer.ports for family in families)
    )
    nothing = not any(family in offer.families for family in families)
    if not missing and (service.ports or not nothing):
        return None
    if service.selector:
        selected = state.pods_selected_by(service) if "pods" in state.seen else None
        lack, ports = _lack_with_selector(service, selected, missing, offer, nothing=nothing)
    else:
        selected = None
        lack, ports = _lack_without_selector(missing, offer, families, nothing=nothing)
    return Shortage(service=service, lack=lack, ports=ports, whole=len(missing) == len(service.ports), pods=selected)


def _lack_with_selector(
    service: Service,
    selected: tuple[Pod, ...] | None,
    missing: tuple[ServicePort, ...],
    offer: Offer,
    *,
    nothing: bool,
) -> tuple[Lack, tuple[ServicePort, ...]]:
    families = service_families(service)
    if selected is None:
        return Lack.NOT_USABLE, missing
    if not selected:
        return Lack.NO_POD, missing
    live = tuple(pod for pod in selected if not pod.terminated)
    undeclared = tuple(port for port in missing if live and not any(declares(pod, port) for pod in live))
    if undeclared:
        return Lack.TARGET_PORT, undeclared
    able = tuple(pod for pod in live if is_able(service, pod))
    if not able:
        return Lack.NOT_USABLE, missing
    reachable = tuple(pod for pod in able if any(family_of(address) in families for address in pod.ips))
    if not reachable:
        return Lack.FAMILY, missing
    unlisted = tuple(port for port in missing if any(declares(pod, port) for pod in reachable))
    if missing and not unlisted:
        return Lack.NOT_USABLE, missing
    if not nothing and not any(_named(offer, port, families) for port in unlisted):
        return Lack.PORT_NAME, unlisted
    return Lack.UNLISTED, unlisted


def _lack_without_selector(
    missing: tuple[ServicePort, ...], offer: Offer, families: Iterable[Family], *, nothing: bool
) -> tuple[Lack, tuple[ServicePort, ...]]:
    if nothing:
        return (Lack.FAMILY if offer.families else Lack.NOT_USABLE), missing
    misnamed = tuple(port for port in missing if not _named(offer, port, families))
    return (Lack.PORT_NAME, misnamed) if misnamed else (Lack.NOT_USABLE, missing)


def _named(offer: Offer, port: ServicePort, families: Iterable[Family]) -> bool:
    return any((family, port.name, port.protocol) in offer.named for family in families)


def pod_state(pod: Pod) -> str:
    """Why a pod is no ready endpoint, in a word or two."""
    if pod.terminated:
        return "ended" if pod.phase == "Succeeded" else "failed"
    if pod.meta.deleted_at is not None:
        return "terminating"
    if not pod.ips:
        return "without an address"
    return "ready" if pod.ready else "not ready"


def port_list(ports: Iterable[ServicePort]) -> str:
    """`80/TCP, 443/TCP (https)`."""
    return ", ".join(f"{port.label} ({port.name})" if port.name else port.label for port in ports)


def is_vital(service: Service) -> bool:
    """True for the API server's and the cluster DNS Service: without them nearly every pod is in trouble."""
    return str(service.key) == "default/kubernetes" or service.meta.labels.get("k8s-app") == "kube-dns"


def selector_text(service: Service) -> str:
    """`app=web,tier=front`, sorted, as kubectl -l takes it."""
    return ",".join(f"{label}={value}" for label, value in sorted((service.selector or {}).items()))


def affected_ports(service: Service, ports: Iterable[ServicePort]) -> tuple[Affected, ...]:
    """One entry per port; the Service itself if there is no port to name."""
    places = tuple(Affected(service=str(service.key), port=port.label) for port in ports)
    return places or (Affected(service=str(service.key)),)


def only_port(ports: tuple[ServicePort, ...]) -> str | None:
    """The label of the port if there is just one, for a finding's `port`."""
    return ports[0].label if len(ports) == 1 else None


def frontend_text(service: Service, ports: tuple[ServicePort, ...]) -> str | None:
    """`10.96.0.10:53/UDP` if one port is concerned and the Service has a cluster IP."""
    if len(ports) != 1 or not service.cluster_ips:
        return None
    return f"{SocketAddress(service.cluster_ips[0], ports[0].port)}/{ports[0].protocol}"
