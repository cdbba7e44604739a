"""Kubernetes objects from their wire form to the model: defaults filled in, addresses parsed.

A part of an object that makes no sense (an address that is none) is left out and told to `complain`; an object that
makes no sense as a whole raises ValueError.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from ipaddress import IPv4Address, IPv6Address

import msgspec

from kdiag.model.addresses import Address, Family, Network, Protocol, family_of, parse_address, parse_network
from kdiag.model.cluster import (
    ConfigMap,
    Container,
    ContainerPort,
    DaemonSet,
    LoadBalancerIngress,
    Node,
    Pod,
    Service,
    ServiceCidr,
    ServicePort,
    TrafficPolicy,
)
from kdiag.model.endpoints import Endpoint, EndpointSlice, LazyEndpoints, LegacyEndpoints, ReadyEndpoints, SlicePort
from kdiag.model.objects import Metadata, ObjectKey
from kdiag.parse import api_raw as raw

Complain = Callable[[str], None]
"""Takes one sentence on a part of an object that was left out."""

Again = Callable[[], bytes | memoryview]
"""Gives an encoded object once more."""

DEFAULT_AFFINITY_S = 10800
"""Session affinity time-out where the API states none: 3 hours (core/v1 DefaultClientIPServiceAffinitySeconds)."""

VARIABLES = ("FELIX_BPFENABLED",)
"""The environment variables that are kept: whether Calico runs in eBPF mode."""

_SLICE_DECODER = msgspec.json.Decoder(raw.WholeEndpointSlice)
_ENDPOINTS_DECODER = msgspec.json.Decoder(list[raw.Endpoint] | None)
_VARIABLE_DECODER = msgspec.json.Decoder(list[raw.Variable] | None)
_LABEL_SERVICE = "kubernetes.io/service-name"
_LABEL_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
_LABEL_HOSTNAME = "kubernetes.io/hostname"
_LABEL_ZONE = "topology.kubernetes.io/zone"
_LABEL_OLD_ZONE = "failure-domain.beta.kubernetes.io/zone"
_PROTOCOLS = {protocol.value: protocol for protocol in Protocol}
_OCTETS = {str(number): number for number in range(256)}
_NEXT = "|"
"""Stands between addresses, and in none of them."""
_LEADING_ZEROS = re.compile(r"(?<![0-9])0+(?=[0-9])")


def service(item: raw.Service, complain: Complain) -> Service:
    """A Service.

    `source_ranges` are those of the spec: kube-proxy never reads the annotation
    service.beta.kubernetes.io/load-balancer-source-ranges, which is for cloud load balancers
    (newBaseServiceInfo in pkg/proxy, all versions). Spaces around a range are allowed, as there.
    """
    spec = item.spec
    texts = spec.cluster_ips or [spec.cluster_ip or ""]
    cluster_ips = _addresses((text for text in texts if text not in ("", "None")), "cluster IP", complain)
    balancer = item.status.load_balancer if item.status else None
    return Service(
        meta=_metadata(item.metadata),
        type=spec.type or "ClusterIP",
        headless=spec.cluster_ip == "None" or "None" in texts,
        cluster_ips=cluster_ips,
        ip_families=tuple(Family(text) for text in spec.ip_families or ())
        or tuple(dict.fromkeys(family_of(address) for address in cluster_ips)),
        ip_family_policy=spec.ip_family_policy,
        ports=tuple(
            ServicePort(
                name=port.name or "",
                protocol=_protocol(port.protocol),
                port=port.port,
                target_port=port.target_port or None,
                node_port=port.node_port or None,
            )
            for port in spec.ports or ()
        ),
        external_ips=_addresses(spec.external_ips or (), "external IP", complain),
        ingress=tuple(
            LoadBalancerIngress(
                ip=_address(entry.ip, "load-balancer IP", complain) if entry.ip else None,
                hostname=entry.hostname or None,
                ip_mode=entry.ip_mode,
            )
            for entry in (balancer.ingress if balancer else None) or ()
        ),
        source_ranges=_networks(spec.load_balancer_source_ranges or (), "source range", complain),
        selector=spec.selector,
        affinity_s=_affinity_s(spec),
        internal_policy=_policy(spec.internal_traffic_policy),
        external_policy=_policy(spec.external_traffic_policy),
        health_check_node_port=spec.health_check_node_port or None,
        publish_not_ready=bool(spec.publish_not_ready_addresses),
        traffic_distribution=spec.traffic_distribution,
        load_balancer_class=spec.load_balancer_class,
    )


def _affinity_s(spec: raw.ServiceSpec) -> int | None:
    if spec.session_affinity != "ClientIP":
        return None
    config = spec.session_affinity_config
    stated = config.client_ip.timeout_seconds if config and config.client_ip else None
    return DEFAULT_AFFINITY_S if stated is None else stated


def endpoint_slice(item: raw.EndpointSlice, complain: Complain) -> EndpointSlice:
    """An EndpointSlice of v1 or v1beta1. Those with host names (addressType FQDN) have no endpoints here."""
    return _slice(item, _ENDPOINTS_DECODER.decode(item.endpoints) or [], partial(_decoded, item.endpoints), complain)


def encoded_slice(encoded: memoryview, complain: Complain, again: Again) -> EndpointSlice:
    """The same of an encoded slice, which is gone through once, and not first to find its endpoints."""
    item = _SLICE_DECODER.decode(encoded)
    return _slice(item, item.endpoints or [], partial(_decoded_slice, again), complain)


def spared_slice(encoded: memoryview, _: Complain, again: Again) -> EndpointSlice:
    """The same, but nothing is made of its endpoints before somebody asks for them: where few are looked at. Of addresses
    that make no sense nobody is told."""
    item = _SLICE_DECODER.decode(encoded)
    address_type = item.address_type
    if address_type == "FQDN":
        return _slice_with(item, ())

    def ready() -> ReadyEndpoints | None:
        return _ready(_SLICE_DECODER.decode(again()).endpoints or [], address_type)

    return _slice_with(item, LazyEndpoints(ready, partial(_decoded_slice, again)))


def _slice(
    item: raw.EndpointSlice | raw.WholeEndpointSlice,
    items: list[raw.Endpoint],
    decoded: Callable[[], tuple[Endpoint, ...]],
    complain: Complain,
) -> EndpointSlice:
    ready = _ready(items, item.address_type)
    endpoints: Sequence[Endpoint] = ()
    if ready is not None:
        endpoints = LazyEndpoints(ready, decoded)
    elif item.address_type != "FQDN":
        endpoints = tuple(_endpoints(items, complain))
    return _slice_with(item, endpoints)


def _slice_with(item: raw.EndpointSlice | raw.WholeEndpointSlice, endpoints: Sequence[Endpoint]) -> EndpointSlice:
    meta = _metadata(item.metadata)
    owner = meta.labels.get(_LABEL_SERVICE)
    return EndpointSlice(
        meta=meta,
        service=ObjectKey(namespace=meta.key.namespace, name=owner) if owner else None,
        address_type=item.address_type,
        endpoints=endpoints,
        ports=tuple([_slice_port(port.name, port.protocol, port.port) for port in item.ports or ()]),
        managed_by=meta.labels.get(_LABEL_MANAGED_BY),
    )


@lru_cache(4096)
def _slice_port(name: str | None, protocol: str | None, port: int | None) -> SlicePort:
    """Thousands of slices have the same port."""
    return SlicePort(name=name or "", protocol=_protocol(protocol), port=port)


def _ready(items: list[raw.Endpoint], address_type: str) -> ReadyEndpoints | None:
    """The endpoints of a slice, if nothing is said of any but where it is; None if there is more to one, or it is odd."""
    for item in items:
        conditions = item.conditions
        if conditions is not None and (
            conditions.ready is False or conditions.serving is False or conditions.terminating
        ):
            return None
        if item.hints is not None or item.topology is not None or not item.addresses:
            return None
    texts = [item.addresses[0] for item in items if item.addresses]
    numbers: tuple[int, ...]
    if address_type == "IPv4":
        try:
            numbers = _ipv4_numbers(texts)
        except (KeyError, ValueError):
            return None
    else:
        addresses = [_sloppy_address(text) for text in texts]
        if not all(item is not None and family_of(item) == address_type for item in addresses):
            return None
        if any("\n" in text for text in texts):
            return None
        numbers = tuple([int(item) for item in addresses if item is not None])
    # A name that is there a thousand times is held once.
    nodes = tuple([sys.intern(item.node_name) if item.node_name else None for item in items])
    return ReadyEndpoints(numbers, "\n".join(texts), nodes)


def _decoded(encoded: msgspec.Raw) -> tuple[Endpoint, ...]:
    return tuple(_endpoints(_ENDPOINTS_DECODER.decode(encoded) or (), _known))


def _decoded_slice(again: Again) -> tuple[Endpoint, ...]:
    return tuple(_endpoints(_SLICE_DECODER.decode(again()).endpoints or (), _known))


def _known(_: str) -> None:
    """There is nothing to complain of that was not seen when the slice was read."""


def _endpoints(items: Iterable[raw.Endpoint], complain: Complain) -> Iterator[Endpoint]:
    nothing = raw.EndpointConditions()
    for item in items:
        if not item.addresses:
            continue  # kube-proxy skips an endpoint without address too (endpointslicecache.go)
        text = item.addresses[0]
        address = _address(text, "endpoint address", complain)
        if address is None:
            continue
        conditions = item.conditions or nothing
        topology, reference, hints = item.topology or {}, item.target_ref, item.hints
        yield Endpoint(
            address=address,
            address_text=text,
            ready=conditions.ready,
            serving=conditions.serving,
            terminating=conditions.terminating,
            node_name=item.node_name or topology.get(_LABEL_HOSTNAME),
            zone=item.zone or topology.get(_LABEL_ZONE) or topology.get(_LABEL_OLD_ZONE),
            zone_hints=tuple(hint.name for hint in hints.for_zones or ()) if hints else (),
            node_hints=tuple(hint.name for hint in hints.for_nodes or ()) if hints else (),
            target_kind=reference.kind if reference else None,
            target=ObjectKey(namespace=reference.namespace or "", name=reference.name)
            if reference and reference.name
            else None,
        )


def legacy_endpoints(item: raw.Endpoints, complain: Complain) -> LegacyEndpoints:
    """A core/v1 Endpoints object; each address once for each port of its subset."""
    ready: list[tuple[Address, str, Protocol, int]] = []
    not_ready: list[tuple[Address, str, Protocol, int]] = []
    for subset in item.subsets or ():
        ports = [(p.name or "", _protocol(p.protocol), p.port) for p in subset.ports or () if p.port is not None]
        for addresses, out in ((subset.addresses, ready), (subset.not_ready_addresses, not_ready)):
            for entry in addresses or ():
                address = _address(entry.ip, "endpoint address", complain)
                if address is not None:
                    out.extend((address, *port) for port in ports)
    return LegacyEndpoints(meta=_metadata(item.metadata), addresses=tuple(ready), not_ready_addresses=tuple(not_ready))


def node(item: raw.Node, complain: Complain) -> Node:
    """A Node. It counts as ready if it has no Ready condition at all."""
    spec, status = item.spec or raw.NodeSpec(), item.status or raw.NodeStatus()
    system = status.node_info or raw.NodeSystemInfo()
    meta = _metadata(item.metadata)
    ready = _condition(status.conditions, "Ready")
    capacity = str((status.capacity or {}).get("pods", ""))
    return Node(
        meta=meta,
        pod_cidrs=_networks(spec.pod_cidrs or ([spec.pod_cidr] if spec.pod_cidr else ()), "pod CIDR", complain),
        addresses=tuple((entry.type, entry.address) for entry in status.addresses or ()),
        ready=ready is None or ready,
        kubelet_version=system.kubelet_version or "",
        os=system.operating_system or meta.labels.get("kubernetes.io/os") or "linux",
        provider_id=spec.provider_id or "",
        pod_capacity=int(capacity) if capacity.isascii() and capacity.isdigit() and len(capacity) < 20 else None,
        taints=tuple(
            f"{taint.key}{'=' + taint.value if taint.value else ''}:{taint.effect or ''}" for taint in spec.taints or ()
        ),
    )


def pod(item: raw.Pod, complain: Complain) -> Pod:
    """A Pod."""
    status = item.status or raw.PodStatus()
    texts = [entry.ip for entry in status.pod_ips or () if entry.ip] or [status.pod_ip or ""]
    return Pod(
        meta=_metadata(item.metadata),
        node_name=item.spec.node_name or None,
        host_network=bool(item.spec.host_network),
        phase=status.phase or "Unknown",
        ips=_addresses((text for text in texts if text), "pod IP", complain),
        ready=bool(_condition(status.conditions, "Ready")),
        containers=_containers(item.spec),
    )


def config_map(item: raw.ConfigMap, complain: Complain) -> ConfigMap:
    """A ConfigMap."""
    return ConfigMap(meta=_metadata(item.metadata), data=item.data or {})


def daemon_set(item: raw.DaemonSet, complain: Complain) -> DaemonSet:
    """A DaemonSet."""
    template = item.spec.template if item.spec else None
    return DaemonSet(
        meta=_metadata(item.metadata),
        containers=_containers(template.spec) if template and template.spec else (),
    )


def service_cidr(item: raw.ServiceCidr, complain: Complain) -> ServiceCidr:
    """A ServiceCIDR."""
    cidrs = item.spec.cidrs if item.spec else None
    return ServiceCidr(meta=_metadata(item.metadata), cidrs=_networks(cidrs or (), "CIDR", complain))


def _metadata(item: raw.ObjectMeta) -> Metadata:
    if not item.name:
        raise ValueError("it has no name")
    return Metadata(
        key=ObjectKey(namespace=item.namespace or "", name=item.name),
        labels=item.labels or {},
        annotations=item.annotations or {},
        created_at=_utc(item.creation_timestamp),
        updated_at=_latest(item.managed_fields),
        deleted_at=_utc(item.deletion_timestamp),
        uid=item.uid or "",
        resource_version=item.resource_version or "",
        owner_kinds=tuple([owner.kind for owner in item.owner_references or ()]),
    )


def _latest(changes: list[raw.ManagedFields] | None) -> datetime | None:
    """When an object was changed last: times of one form (`2026-01-02T03:04:05Z`) sort as text."""
    texts = [item.time for item in changes or () if item.time]
    return _moment(max(texts)) if texts else None


@lru_cache(4096)
def _moment(text: str) -> datetime | None:
    """Thousands of objects are changed in one second."""
    try:
        return _utc(datetime.fromisoformat(text))
    except ValueError:
        return None


def _utc(moment: datetime | None) -> datetime | None:
    if moment is None or moment.tzinfo is UTC:
        return moment
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _containers(spec: raw.PodSpec) -> tuple[Container, ...]:
    """Containers, then sidecars: init containers that restart always (from Kubernetes 1.28 on)."""
    sidecars = [item for item in spec.init_containers or () if item.restart_policy == "Always"]
    return tuple(
        Container(
            name=item.name,
            image=item.image or "",
            command=(*(item.command or ()), *(item.args or ())),
            environment=_environment(item.env),
            ports=tuple(
                ContainerPort(
                    name=port.name or "",
                    protocol=_protocol(port.protocol),
                    port=port.container_port,
                    host_port=port.host_port or None,
                )
                for port in item.ports or ()
            ),
        )
        for item in (*(spec.containers or ()), *sidecars)
    )


def _environment(encoded: msgspec.Raw) -> dict[str, str]:
    """The variables of VARIABLES that are set to a literal value."""
    if not any(item.encode() in bytes(encoded) for item in VARIABLES):
        return {}
    found = _VARIABLE_DECODER.decode(encoded)
    return {item.name: item.value for item in found or () if item.name in VARIABLES and item.value is not None}


def _condition(conditions: list[raw.Condition] | None, wanted: str) -> bool | None:
    """True if the condition is True, False if it is False or Unknown, None if it is not there."""
    return next((item.status == "True" for item in conditions or () if item.type == wanted), None)


def _policy(text: str | None) -> TrafficPolicy:
    """Everything but Local is Cluster, as in kube-proxy."""
    return TrafficPolicy.LOCAL if text == "Local" else TrafficPolicy.CLUSTER


def _protocol(text: str | None) -> Protocol:
    protocol = _PROTOCOLS.get(text or "TCP")
    if protocol is None:
        raise ValueError(f"protocol {text!r} is unknown")
    return protocol


def _addresses(texts: Iterable[str], what: str, complain: Complain) -> tuple[Address, ...]:
    found = (_address(text, what, complain) for text in texts)
    return tuple(address for address in found if address is not None)


def _address(text: str, what: str, complain: Complain) -> Address | None:
    try:
        return IPv4Address(_ipv4_number(text))
    except (KeyError, ValueError):
        address = _sloppy_address(text)
    if address is None:
        complain(f"{what} {text!r} is not an IP address")
    return address


def _ipv4_numbers(texts: list[str]) -> tuple[int, ...]:
    """IPv4 addresses that are written as usual. Raises KeyError or ValueError if one is not."""
    octets = f".{_NEXT}.".join(texts).split(".")
    if texts and (len(octets) != 5 * len(texts) - 1 or octets[4::5] != [_NEXT] * (len(texts) - 1)):
        raise ValueError("an address has not four octets")
    del octets[4::5]
    return struct.unpack(f">{len(texts)}I", bytes([_OCTETS[octet] for octet in octets])) if texts else ()


def _ipv4_number(text: str) -> int:
    """An IPv4 address that is written as usual. Raises KeyError or ValueError for anything else."""
    first, second, third, fourth = text.split(".")
    return _OCTETS[first] << 24 | _OCTETS[second] << 16 | _OCTETS[third] << 8 | _OCTETS[fourth]


@lru_cache(maxsize=65536)
def _sloppy_address(text: str) -> Address | None:
    """An address as Kubernetes understands it (ParseIPSloppy in k8s.io/utils/net).

    Octets may have leading zeros and are decimal all the same; IPv4 written as IPv6 (`::ffff:10.0.0.1`) is IPv4.
    """
    address = parse_address(text) or parse_address(_LEADING_ZEROS.sub("", text))
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _networks(texts: Iterable[str], what: str, complain: Complain) -> tuple[Network, ...]:
    """CIDR blocks, sloppy like addresses."""
    out: list[Network] = []
    for text in texts:
        network = parse_network(text) or parse_network(_LEADING_ZEROS.sub("", text))
        if network is None:
            complain(f"{what} {text!r} is not a CIDR block")
        else:
            out.append(network)
    return tuple(out)
