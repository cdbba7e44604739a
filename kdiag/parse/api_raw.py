"""Kubernetes API objects as they come over the wire: just the fields that kdiag uses, decoded by msgspec.

Go writes absent lists and maps as `null`, as an empty value or not at all, so every field may be None. Fields that are
not named here (managedFields among them) are skipped by the decoder and never built.

Annotations are no text here: msgspec would have to compile each of them when a decoder is made.
"""

from datetime import datetime

import msgspec


class Raw(msgspec.Struct, rename="camel", gc=False):
    """Base of all wire types: JSON names in camelCase, not tracked by the garbage collector (they hold no cycles)."""


class ManagedFields(Raw):
    """Who changed an object when; which fields is not read. The time is text: what is odd about it harms nothing else."""

    time: str | None = None


class BareMeta(Raw):
    """metadata of an object without its labels and annotations."""

    name: str = ""
    namespace: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    managed_fields: list[ManagedFields] | None = None


class ObjectMeta(BareMeta):
    """metadata of an object."""

    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class NameOnly(Raw):
    """The part of metadata that names an object, whatever is wrong with the rest."""

    name: str = ""
    namespace: str | None = None


class NamedObject(Raw):
    """Any object, for its name alone."""

    metadata: NameOnly = msgspec.field(default_factory=NameOnly)


class ListMeta(Raw):
    """metadata of a list; `continue_` is set while the server has more pages."""

    continue_: str | None = msgspec.field(name="continue", default=None)
    resource_version: str | None = None


class ObjectList(Raw):
    """A list of any kind with its items still encoded. `Status` bodies fit too."""

    kind: str | None = None
    metadata: ListMeta | None = None
    items: list[msgspec.Raw] | msgspec.UnsetType | None = msgspec.UNSET


class Status(Raw):
    """A metav1.Status: the API server's answer to a request that it refused."""

    message: str | None = None
    reason: str | None = None
    code: int | None = None


class Condition(Raw):
    """One entry of status.conditions."""

    type: str = ""
    status: str = ""


class VersionInfo(Raw):
    """Body of GET /version."""

    git_version: str | None = None


class ServiceLabels(msgspec.Struct, gc=False, frozen=True):
    """The labels of a Service that are looked at. Can be looked up: most have none of them."""

    app: str | None = msgspec.field(name="k8s-app", default=None)
    proxy: str | None = msgspec.field(name="service.kubernetes.io/service-proxy-name", default=None)
    headless: str | None = msgspec.field(name="service.kubernetes.io/headless", default=None)


class ServiceAnnotations(msgspec.Struct, gc=False, frozen=True):
    """Its annotations that are looked at. What `kubectl apply` notes in another one is as large as all the rest."""

    hints: str | None = msgspec.field(name="service.kubernetes.io/topology-aware-hints", default=None)
    mode: str | None = msgspec.field(name="service.kubernetes.io/topology-mode", default=None)
    tolerates_unready: str | None = msgspec.field(
        name="service.alpha.kubernetes.io/tolerate-unready-endpoints", default=None
    )


class ServiceMeta(BareMeta):
    """metadata of a Service."""

    labels: ServiceLabels | None = None
    annotations: ServiceAnnotations | None = None


class ServicePort(msgspec.Struct, rename="camel", gc=False, frozen=True):
    """spec.ports[] of a Service. `target_port` and `node_port` are 0 or absent where they do not apply. Can be looked up:
    thousands of Services have the same ports."""

    port: int
    name: str | None = None
    protocol: str | None = None
    target_port: int | str | None = None
    node_port: int | None = None


class ClientIpConfig(Raw):
    """spec.sessionAffinityConfig.clientIP."""

    timeout_seconds: int | None = None


class SessionAffinityConfig(Raw):
    """spec.sessionAffinityConfig."""

    client_ip: ClientIpConfig | None = msgspec.field(name="clientIP", default=None)


class ServiceSpec(Raw):
    """spec of a Service."""

    type: str | None = None
    cluster_ip: str | None = msgspec.field(name="clusterIP", default=None)
    cluster_ips: list[str] | None = msgspec.field(name="clusterIPs", default=None)
    ip_families: list[str] | None = None
    ip_family_policy: str | None = None
    ports: list[ServicePort] | None = None
    external_ips: list[str] | None = msgspec.field(name="externalIPs", default=None)
    load_balancer_source_ranges: list[str] | None = None
    selector: dict[str, str] | None = None
    session_affinity: str | None = None
    session_affinity_config: SessionAffinityConfig | None = None
    internal_traffic_policy: str | None = None
    external_traffic_policy: str | None = None
    health_check_node_port: int | None = None
    publish_not_ready_addresses: bool | None = None
    traffic_distribution: str | None = None
    load_balancer_class: str | None = None


class Ingress(Raw):
    """status.loadBalancer.ingress[]."""

    ip: str | None = None
    hostname: str | None = None
    ip_mode: str | None = None


class LoadBalancerStatus(Raw):
    """status.loadBalancer."""

    ingress: list[Ingress] | None = None


class ServiceStatus(Raw):
    """status of a Service."""

    load_balancer: LoadBalancerStatus | None = None


class Service(Raw):
    """A core/v1 Service."""

    metadata: ServiceMeta
    spec: ServiceSpec
    status: ServiceStatus | None = None


class EndpointConditions(Raw):
    """endpoints[].conditions."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class NamedHint(Raw):
    """One entry of endpoints[].hints.forZones or forNodes."""

    name: str = ""


class EndpointHints(Raw):
    """endpoints[].hints."""

    for_zones: list[NamedHint] | None = None
    for_nodes: list[NamedHint] | None = None


class ObjectReference(Raw):
    """A reference to an object, as in targetRef."""

    kind: str | None = None
    namespace: str | None = None
    name: str | None = None


class Endpoint(Raw):
    """endpoints[] of an EndpointSlice: discovery.k8s.io/v1 (nodeName, zone) and v1beta1 (topology, later nodeName)."""

    addresses: list[str] | None = None
    conditions: EndpointConditions | None = None
    node_name: str | None = None
    zone: str | None = None
    topology: dict[str, str] | None = None
    hints: EndpointHints | None = None
    target_ref: ObjectReference | None = None


class EndpointPort(msgspec.Struct, rename="camel", gc=False, frozen=True):
    """A port of an EndpointSlice or of an Endpoints subset. Like the others, but can be looked up: thousands are alike."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None


class SliceLabels(Raw):
    """The labels of an EndpointSlice that are looked at: there are thousands of slices, and no two have the same labels."""

    service: str | None = msgspec.field(name="kubernetes.io/service-name", default=None)
    managed_by: str | None = msgspec.field(name="endpointslice.kubernetes.io/managed-by", default=None)
    proxy: str | None = msgspec.field(name="service.kubernetes.io/service-proxy-name", default=None)
    headless: str | None = msgspec.field(name="service.kubernetes.io/headless", default=None)


class SliceAnnotations(Raw):
    """The one of its annotations that is looked at."""

    changed: str | None = msgspec.field(name="endpoints.kubernetes.io/last-change-trigger-time", default=None)


class SliceMeta(BareMeta):
    """metadata of an EndpointSlice."""

    labels: SliceLabels | None = None
    annotations: SliceAnnotations | None = None


class EndpointSlice(Raw):
    """An EndpointSlice of discovery.k8s.io/v1 or v1beta1. `endpoints`, a list of `Endpoint` or null, stay encoded."""

    metadata: SliceMeta
    address_type: str
    endpoints: msgspec.Raw = msgspec.Raw(b"null")
    ports: list[EndpointPort] | None = None


class WholeEndpointSlice(Raw):
    """The same with its endpoints decoded."""

    metadata: SliceMeta
    address_type: str
    endpoints: list[Endpoint] | None = None
    ports: list[EndpointPort] | None = None


class EndpointAddress(Raw):
    """An address of an Endpoints subset."""

    ip: str


class EndpointSubset(Raw):
    """subsets[] of an Endpoints object."""

    addresses: list[EndpointAddress] | None = None
    not_ready_addresses: list[EndpointAddress] | None = None
    ports: list[EndpointPort] | None = None


class Endpoints(Raw):
    """A core/v1 Endpoints object."""

    metadata: ObjectMeta
    subsets: list[EndpointSubset] | None = None


class Taint(Raw):
    """spec.taints[] of a Node."""

    key: str = ""
    value: str | None = None
    effect: str | None = None


class NodeSpec(Raw):
    """spec of a Node."""

    pod_cidr: str | None = msgspec.field(name="podCIDR", default=None)
    pod_cidrs: list[str] | None = msgspec.field(name="podCIDRs", default=None)
    provider_id: str | None = msgspec.field(name="providerID", default=None)
    taints: list[Taint] | None = None


class NodeAddress(Raw):
    """status.addresses[] of a Node."""

    type: str = ""
    address: str = ""


class NodeSystemInfo(Raw):
    """status.nodeInfo."""

    kubelet_version: str | None = None
    operating_system: str | None = None


class NodeStatus(Raw):
    """status of a Node."""

    addresses: list[NodeAddress] | None = None
    capacity: dict[str, str | int] | None = None
    conditions: list[Condition] | None = None
    node_info: NodeSystemInfo | None = None


class Node(Raw):
    """A core/v1 Node."""

    metadata: ObjectMeta
    spec: NodeSpec | None = None
    status: NodeStatus | None = None


class ContainerPort(Raw):
    """ports[] of a container."""

    container_port: int
    name: str | None = None
    protocol: str | None = None
    host_port: int | None = None


class Variable(Raw):
    """One entry of a container's env."""

    name: str = ""
    value: str | None = None


class Container(Raw):
    """A container. `restart_policy` is set on init containers only; `env` stays encoded, as hardly any is looked at."""

    name: str = ""
    image: str | None = None
    command: list[str] | None = None
    args: list[str] | None = None
    env: msgspec.Raw = msgspec.Raw(b"")
    ports: list[ContainerPort] | None = None
    restart_policy: str | None = None


class PodSpec(Raw):
    """spec of a Pod or of a pod template."""

    node_name: str | None = None
    host_network: bool | None = None
    containers: list[Container] | None = None
    init_containers: list[Container] | None = None


class PodIp(Raw):
    """status.podIPs[]."""

    ip: str | None = None


class PodStatus(Raw):
    """status of a Pod."""

    phase: str | None = None
    pod_ip: str | None = msgspec.field(name="podIP", default=None)
    pod_ips: list[PodIp] | None = msgspec.field(name="podIPs", default=None)
    conditions: list[Condition] | None = None


class Pod(Raw):
    """A core/v1 Pod."""

    metadata: ObjectMeta
    spec: PodSpec
    status: PodStatus | None = None


class ConfigMap(Raw):
    """A core/v1 ConfigMap."""

    metadata: ObjectMeta
    data: dict[str, str] | None = None


class PodTemplate(Raw):
    """spec.template of a workload."""

    spec: PodSpec | None = None


class DaemonSetSpec(Raw):
    """spec of a DaemonSet."""

    template: PodTemplate | None = None


class DaemonSet(Raw):
    """An apps/v1 DaemonSet."""

    metadata: ObjectMeta
    spec: DaemonSetSpec | None = None


class ServiceCidrSpec(Raw):
    """spec of a ServiceCIDR."""

    cidrs: list[str] | None = None


class ServiceCidr(Raw):
    """A networking.k8s.io ServiceCIDR."""

    metadata: ObjectMeta
    spec: ServiceCidrSpec | None = None
