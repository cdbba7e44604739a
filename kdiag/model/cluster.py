"""Kubernetes objects, reduced to the fields that decide where a packet goes.

Built by `kdiag.parse.api`. Absent lists are empty tuples, absent scalars None. Times are timezone-aware UTC.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import overload

from msgspec import Struct, field

from kdiag.model.addresses import Address, Family, Network, Protocol, family_of, parse_address


class TrafficPolicy(enum.StrEnum):
    """internalTrafficPolicy and externalTrafficPolicy; absent means Cluster."""

    CLUSTER = "Cluster"
    LOCAL = "Local"


class ObjectKey(Struct, frozen=True, kw_only=True, order=True, gc=False):
    """Namespace and name. Cluster-scoped objects have an empty namespace.

    Not tracked by the garbage collector, like `Endpoint`, because there are very many.
    """

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class Metadata(Struct, frozen=True, kw_only=True):
    """The part of an object's metadata that is used."""

    key: ObjectKey
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    created_at: datetime | None = None
    updated_at: datetime | None = None
    """The latest time in metadata.managedFields."""
    deleted_at: datetime | None = None
    """metadata.deletionTimestamp: when the object will go, set means it is going."""
    uid: str = ""
    resource_version: str = ""
    """metadata.resourceVersion: another one means that the object was written meanwhile. Not a number (API conventions)."""
    owner_kinds: tuple[str, ...] = ()


class ServicePort(Struct, frozen=True, kw_only=True):
    """One port of a Service. `name` is empty for an unnamed port; `target_port` is a number, a name or None."""

    name: str
    protocol: Protocol
    port: int
    target_port: int | str | None = None
    node_port: int | None = None

    @property
    def label(self) -> str:
        """`80/TCP`, the form reports use."""
        return f"{self.port}/{self.protocol}"


class LoadBalancerIngress(Struct, frozen=True, kw_only=True):
    """One entry of status.loadBalancer.ingress. `ip_mode` is None, `VIP` or `Proxy`."""

    ip: Address | None = None
    hostname: str | None = None
    ip_mode: str | None = None


class Service(Struct, frozen=True, kw_only=True):
    """A Service. `cluster_ips` is empty for headless, ExternalName and pending Services."""

    meta: Metadata
    type: str = "ClusterIP"
    headless: bool = False
    cluster_ips: tuple[Address, ...] = ()
    ip_families: tuple[Family, ...] = ()
    ip_family_policy: str | None = None
    ports: tuple[ServicePort, ...] = ()
    external_ips: tuple[Address, ...] = ()
    ingress: tuple[LoadBalancerIngress, ...] = ()
    source_ranges: tuple[Network, ...] = ()
    selector: Mapping[str, str] | None = None
    """None or empty: the Service has no selector and its endpoints are made by somebody else."""
    affinity_s: int | None = None
    """sessionAffinity ClientIP time-out in seconds; None without affinity."""
    internal_policy: TrafficPolicy = TrafficPolicy.CLUSTER
    external_policy: TrafficPolicy = TrafficPolicy.CLUSTER
    health_check_node_port: int | None = None
    publish_not_ready: bool = False
    traffic_distribution: str | None = None
    load_balancer_class: str | None = None

    @property
    def key(self) -> ObjectKey:
        """Namespace and name."""
        return self.meta.key


class Endpoint(Struct, frozen=True, kw_only=True, gc=False):
    """One endpoint of a slice. Only the first address is used, as kube-proxy does.

    `address` is parsed, `address_text` as the API had it. Conditions are None where the API left them out.
    `node_name` comes from nodeName, else from topology["kubernetes.io/hostname"] (v1beta1).
    """

    address: Address
    address_text: str
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None
    node_name: str | None = None
    zone: str | None = None
    zone_hints: tuple[str, ...] = ()
    node_hints: tuple[str, ...] = ()
    target_kind: str | None = None
    target: ObjectKey | None = None


class ReadyEndpoints(Struct, frozen=True):
    """Endpoints of which nothing is said but that they are ready and where: all of one family, each on its node.

    `numbers` are the addresses as numbers, `text` has them as the API had them, one a line; `nodes` are names, None where
    it told none.
    """

    numbers: tuple[int, ...]
    text: str
    nodes: tuple[str | None, ...]


class LazyEndpoints(Sequence[Endpoint]):
    """Endpoints of which each becomes an object only when somebody looks at it: hardly any of 250,000 is.

    `make` makes all of a slice. `ready` are they if they are ready and no more, or what tells that once it is asked for.
    """

    __slots__ = ("_made", "_make", "_ready")

    def __init__(
        self,
        ready: ReadyEndpoints | Callable[[], ReadyEndpoints | None],
        make: Callable[[], tuple[Endpoint, ...]],
    ) -> None:
        self._ready: ReadyEndpoints | Callable[[], ReadyEndpoints | None] | None = ready
        self._make = make
        self._made: tuple[Endpoint, ...] | None = None

    @property
    def ready(self) -> ReadyEndpoints | None:
        """What they are if they are ready and no more, None if there is more to one."""
        if self._ready is not None and not isinstance(self._ready, ReadyEndpoints):
            self._ready = self._ready()
        return self._ready

    def _all(self) -> tuple[Endpoint, ...]:
        if self._made is None:
            self._made = self._make()
        return self._made

    @overload
    def __getitem__(self, index: int) -> Endpoint: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Endpoint, ...]: ...

    def __getitem__(self, index: int | slice) -> Endpoint | tuple[Endpoint, ...]:
        return self._all()[index]

    def __len__(self) -> int:
        ready = self.ready
        return len(ready.numbers if ready is not None else self._all())

    def __iter__(self) -> Iterator[Endpoint]:
        return iter(self._all())

    def __eq__(self, other: object) -> bool:
        return self._all() == (other._all() if isinstance(other, LazyEndpoints) else other)

    def __hash__(self) -> int:
        return hash(self._all())


class SlicePort(Struct, frozen=True, kw_only=True):
    """One port of a slice. `port` None means all ports, which kube-proxy skips."""

    name: str
    protocol: Protocol
    port: int | None = None


class EndpointSlice(Struct, frozen=True, kw_only=True):
    """An EndpointSlice. `service` comes from the label kubernetes.io/service-name; None without it."""

    meta: Metadata
    service: ObjectKey | None
    address_type: str
    endpoints: Sequence[Endpoint] = ()
    ports: tuple[SlicePort, ...] = ()
    managed_by: str | None = None

    @property
    def ready(self) -> ReadyEndpoints | None:
        """Its endpoints, if all are of its family and nothing is said of them but that they are ready and where."""
        if isinstance(self.endpoints, LazyEndpoints) and self.endpoints.ready is not None:
            return self.endpoints.ready
        for item in self.endpoints:
            unlike = item.ready is False or item.serving is False or item.terminating
            if unlike or item.zone_hints or item.node_hints or family_of(item.address) is not self.family:
                return None
        texts = [item.address_text for item in self.endpoints]
        if any("\n" in text for text in texts):
            return None
        return ReadyEndpoints(
            tuple([int(item.address) for item in self.endpoints]),
            "\n".join(texts),
            tuple([item.node_name for item in self.endpoints]),
        )

    def holds(self, address: Address) -> bool:
        """True if an endpoint has this address."""
        return int(address) in self.numbers().get(family_of(address), ())

    def numbers(self) -> Mapping[Family, Sequence[int]]:
        """The addresses of its endpoints as numbers, by family."""
        ready = self.endpoints.ready if isinstance(self.endpoints, LazyEndpoints) else None
        if ready is not None and self.family is not None:
            return {self.family: ready.numbers}
        found: dict[Family, list[int]] = {}
        for endpoint in self.endpoints:
            found.setdefault(family_of(endpoint.address), []).append(int(endpoint.address))
        return found

    @property
    def family(self) -> Family | None:
        """The family of its addresses; None for FQDN."""
        return {"IPv4": Family.IPV4, "IPv6": Family.IPV6}.get(self.address_type)


class LegacyEndpoints(Struct, frozen=True, kw_only=True):
    """A core/v1 Endpoints object, read for what only it can show (truncation, mirroring) and for old proxies."""

    meta: Metadata
    addresses: tuple[tuple[Address, str, Protocol, int], ...] = ()
    """Ready addresses: address, port name, protocol, port."""
    not_ready_addresses: tuple[tuple[Address, str, Protocol, int], ...] = ()


class ContainerPort(Struct, frozen=True, kw_only=True):
    """One declared container port."""

    name: str
    protocol: Protocol
    port: int
    host_port: int | None = None


class Container(Struct, frozen=True, kw_only=True):
    """A container (init containers that restart always, i.e. sidecars, are listed too)."""

    name: str
    image: str = ""
    command: tuple[str, ...] = ()
    """command followed by args."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The few variables that decide where packets go (kdiag.parse.api_objects), with their literal values."""
    ports: tuple[ContainerPort, ...] = ()


class Pod(Struct, frozen=True, kw_only=True):
    """A Pod. `ready` is its Ready condition."""

    meta: Metadata
    node_name: str | None = None
    host_network: bool = False
    phase: str = "Unknown"
    ips: tuple[Address, ...] = ()
    ready: bool = False
    containers: tuple[Container, ...] = ()

    @property
    def key(self) -> ObjectKey:
        """Namespace and name."""
        return self.meta.key

    @property
    def terminated(self) -> bool:
        """True once the pod has ended; its address may then belong to another pod."""
        return self.phase in ("Succeeded", "Failed")


class Node(Struct, frozen=True, kw_only=True):
    """A Node. `addresses` are (type, text) pairs as the API has them."""

    meta: Metadata
    pod_cidrs: tuple[Network, ...] = ()
    addresses: tuple[tuple[str, str], ...] = ()
    ready: bool = True
    kubelet_version: str = ""
    os: str = "linux"
    provider_id: str = ""
    pod_capacity: int | None = None
    taints: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The node's name."""
        return self.meta.key.name

    @property
    def zone(self) -> str | None:
        """Label topology.kubernetes.io/zone."""
        return self.meta.labels.get("topology.kubernetes.io/zone")


class ConfigMap(Struct, frozen=True, kw_only=True):
    """A ConfigMap of kube-system (or of a CNI's namespace)."""

    meta: Metadata
    data: Mapping[str, str] = field(default_factory=dict)


class DaemonSet(Struct, frozen=True, kw_only=True):
    """A DaemonSet's pod template."""

    meta: Metadata
    containers: tuple[Container, ...] = ()


class ServiceCidr(Struct, frozen=True, kw_only=True):
    """A networking.k8s.io ServiceCIDR."""

    meta: Metadata
    cidrs: tuple[Network, ...] = ()


class ClusterState(Struct, frozen=True, kw_only=True, dict=True):
    """One reading of the API. Objects that could not be decoded are missing here and listed as gaps by the parser.

    `seen` names the kinds that were there to read (`services`, `endpointslices`, `endpoints`, `nodes`, `pods`,
    `configmaps`, `daemonsets`, `servicecidrs`): an empty tuple of a kind that is not in `seen` says nothing.
    `sources` maps a kind to the path inside the snapshot that it was read from. `unread` are the objects that could
    not be decoded, or only in part, by kind; an empty key stands for one whose name could not be read either.
    `versions` are the resource versions of the lists, by kind: of two readings with the same one, nothing was written
    between; one that is not told is missing.
    """

    server_version: str | None = None
    services: tuple[Service, ...] = ()
    slices: tuple[EndpointSlice, ...] = ()
    endpoints: tuple[LegacyEndpoints, ...] = ()
    nodes: tuple[Node, ...] = ()
    pods: tuple[Pod, ...] = ()
    config_maps: tuple[ConfigMap, ...] = ()
    daemon_sets: tuple[DaemonSet, ...] = ()
    service_cidrs: tuple[ServiceCidr, ...] = ()
    seen: frozenset[str] = frozenset()
    unread: Mapping[str, frozenset[ObjectKey]] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def service_by_key(self) -> Mapping[ObjectKey, Service]:
        """Services by namespace and name."""
        return {service.key: service for service in self.services}

    @cached_property
    def node_by_name(self) -> Mapping[str, Node]:
        """Nodes by name."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def node_by_address(self) -> Mapping[Address, Node]:
        """Nodes by each of their addresses; of several with the same one the first."""
        out: dict[Address, Node] = {}
        for node in self.nodes:
            for _, text in node.addresses:
                address = parse_address(text)
                if address is not None:
                    out.setdefault(address, node)
        return out

    @cached_property
    def slices_by_service(self) -> Mapping[ObjectKey, tuple[EndpointSlice, ...]]:
        """Slices by the Service that their label names."""
        out: dict[ObjectKey, list[EndpointSlice]] = {}
        for item in self.slices:
            if item.service is not None:
                out.setdefault(item.service, []).append(item)
        return {key: tuple(items) for key, items in out.items()}

    @cached_property
    def endpoints_by_service(self) -> Mapping[ObjectKey, LegacyEndpoints]:
        """Endpoints objects by the Service they belong to, which is the one of the same name."""
        return {item.meta.key: item for item in self.endpoints}

    @cached_property
    def _services_by_endpoint(self) -> Mapping[Family, Mapping[int, list[ObjectKey]]]:
        out: dict[Family, dict[int, list[ObjectKey]]] = {family: {} for family in Family}
        for item in self.slices:
            if item.service is None:
                continue
            for family, numbers in item.numbers().items():
                found = out[family]
                for number in numbers:
                    found.setdefault(number, []).append(item.service)
        for legacy in self.endpoints:
            for address, *_ in legacy.addresses:
                out[family_of(address)].setdefault(int(address), []).append(legacy.meta.key)
        return out

    @cached_property
    def _in_slices(self) -> Mapping[Family, set[int]]:
        out: dict[Family, set[int]] = {family: set() for family in Family}
        for item in self.slices:
            for family, numbers in item.numbers().items():
                out[family].update(numbers)
        return out

    def is_in_a_slice(self, address: Address) -> bool:
        """True if an endpoint of any slice has this address."""
        return int(address) in self._in_slices[family_of(address)]

    def services_listing(self, address: Address) -> frozenset[ObjectKey]:
        """The Services that have the address in a slice, ready or not, or as a ready one in their Endpoints."""
        return frozenset(self._services_by_endpoint[family_of(address)].get(int(address), ()))

    @cached_property
    def pods_by_address(self) -> Mapping[Address, tuple[Pod, ...]]:
        """Pods that have not ended, by address (several for host-network pods)."""
        out: dict[Address, list[Pod]] = {}
        for pod in self.pods:
            if not pod.terminated:
                for address in pod.ips:
                    out.setdefault(address, []).append(pod)
        return {address: tuple(pods) for address, pods in out.items()}

    @cached_property
    def pods_by_label(self) -> Mapping[tuple[str, str, str], tuple[Pod, ...]]:
        """All pods, ended ones too, by (namespace, label key, label value)."""
        out: dict[tuple[str, str, str], list[Pod]] = {}
        for pod in self.pods:
            for label, value in pod.meta.labels.items():
                out.setdefault((pod.key.namespace, label, value), []).append(pod)
        return {key: tuple(pods) for key, pods in out.items()}

    def pods_selected_by(self, service: Service) -> tuple[Pod, ...]:
        """The pods, ended ones too, whose labels the Service's selector matches; none without a selector."""
        if not service.selector:
            return ()
        wanted = [(service.key.namespace, label, value) for label, value in sorted(service.selector.items())]
        rarest = min((self.pods_by_label.get(item, ()) for item in wanted), key=len)
        return tuple(
            pod
            for pod in rarest
            if all(pod.meta.labels.get(label) == value for label, value in service.selector.items())
        )

    @cached_property
    def pod_by_key(self) -> Mapping[ObjectKey, Pod]:
        """Pods, ended ones too, by namespace and name."""
        return {pod.key: pod for pod in self.pods}

    @cached_property
    def pods_by_node(self) -> Mapping[str, tuple[Pod, ...]]:
        """Pods by the node that they were bound to."""
        out: dict[str, list[Pod]] = {}
        for pod in self.pods:
            if pod.node_name:
                out.setdefault(pod.node_name, []).append(pod)
        return {name: tuple(pods) for name, pods in out.items()}
