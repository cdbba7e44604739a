"""Kubernetes objects, reduced to the fields that decide where a packet goes.

Built by `kdiag.parse.api`. Absent lists are empty tuples, absent scalars None. Times are timezone-aware UTC.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from functools import cached_property

from msgspec import Struct, field

from kdiag.model.addresses import Address, Family, Network, Protocol, family_of, parse_address
from kdiag.model.dataplane import ServicePortKey
from kdiag.model.endpoints import EndpointSlice, LegacyEndpoints
from kdiag.model.objects import Metadata, ObjectKey


class TrafficPolicy(enum.StrEnum):
    """internalTrafficPolicy and externalTrafficPolicy; absent means Cluster."""

    CLUSTER = "Cluster"
    LOCAL = "Local"
    __hash__ = str.__hash__


LOCAL_POLICY = TrafficPolicy.LOCAL


class ServicePort(Struct, frozen=True, kw_only=True, gc=False):
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


class Service(Struct, frozen=True, kw_only=True, gc=False):
    """A Service. `cluster_ips` is empty for headless, ExternalName and pending Services. Of its labels and annotations there
    are those that somebody looks at (`ServiceLabels` and `ServiceAnnotations` in kdiag.parse.api_raw)."""

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

    def port_label(self, port: ServicePortKey) -> str | None:
        """`80/TCP` for a Service port: what its Service calls it, also where a NodePort is meant; None if there is none."""
        service = self.service_by_key.get(port.service)
        for item in service.ports if service is not None else ():
            if (item.name, item.protocol) == (port.port_name, port.protocol):
                return item.label
        return None

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
    def written(self) -> Mapping[ObjectKey, frozenset[tuple[str, str, str]]]:
        """What tells whether a Service, its slices or (where there are none at all) its Endpoints were written: name, uid and
        resource version of each."""
        found = {}
        slices, legacy = self.slices_by_service, self.endpoints_by_service if not self.slices else {}
        for service in self.services:
            key = service.meta.key
            metas = [service.meta, *[item.meta for item in slices.get(key, ())]]
            if key in legacy:
                metas.append(legacy[key].meta)
            found[key] = frozenset([(meta.key.name, meta.uid, meta.resource_version) for meta in metas])
        return found

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
