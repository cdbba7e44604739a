"""Small builders for the values that checks look at: everything has a sane default, text is parsed.

A `namespace/name` text stands for an ObjectKey; without a slash the namespace is `default`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from kdiag.model.addresses import Address, Family, Network, Protocol, family_of, parse_address, parse_network
from kdiag.model.cluster import (
    ClusterState,
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
from kdiag.model.endpoints import Endpoint, EndpointSlice, LegacyEndpoints, SlicePort
from kdiag.model.facts import Fact, FactKind, Facts
from kdiag.model.host import HostFacts
from kdiag.model.objects import Metadata, ObjectKey
from kdiag.model.proxy import ProxyConfig, ProxyMode, Version
from kdiag.model.rules import Ruleset
from kdiag.model.view import NodeView, View

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
"""When every built view was taken; objects are a day older unless told otherwise."""
LONG_AGO = NOW - timedelta(days=1)

CONTROLLER = "endpointslice-controller.k8s.io"
MIRRORER = "endpointslicemirroring-controller.k8s.io"

ALL_KINDS = frozenset(
    {"services", "endpointslices", "endpoints", "nodes", "pods", "configmaps", "daemonsets", "servicecidrs"}
)


def address(text: str) -> Address:
    """The address that a literal of a test spells."""
    found = parse_address(text)
    assert found is not None, text
    return found


def network(text: str) -> Network:
    """The network that a literal of a test spells."""
    found = parse_network(text)
    assert found is not None, text
    return found


def key(text: str) -> ObjectKey:
    """`namespace/name`, or a name in the namespace default."""
    namespace, slash, plain = text.partition("/")
    return ObjectKey(namespace=namespace, name=plain) if slash else ObjectKey(namespace="default", name=text)


def meta(
    where: str | ObjectKey,
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    created_at: datetime | None = LONG_AGO,
    deleted_at: datetime | None = None,
) -> Metadata:
    """Metadata of an object."""
    return Metadata(
        key=key(where) if isinstance(where, str) else where,
        labels=dict(labels or {}),
        annotations=dict(annotations or {}),
        created_at=created_at,
        deleted_at=deleted_at,
    )


def service_port(
    port: int = 80,
    target: int | str | None = None,
    *,
    name: str = "",
    protocol: str = "TCP",
    node_port: int | None = None,
) -> ServicePort:
    """A Service port; the target port is the port itself unless given."""
    return ServicePort(
        name=name,
        protocol=Protocol(protocol),
        port=port,
        target_port=port if target is None else target,
        node_port=node_port,
    )


def service(
    where: str = "web",
    *,
    cluster_ips: Iterable[str] = ("10.96.0.50",),
    selector: Mapping[str, str] | None = None,
    ports: Iterable[ServicePort] | None = None,
    type: str = "ClusterIP",
    headless: bool = False,
    policy: str | None = "SingleStack",
    external_policy: TrafficPolicy = TrafficPolicy.CLUSTER,
    internal_policy: TrafficPolicy = TrafficPolicy.CLUSTER,
    publish_not_ready: bool = False,
    external_ips: Iterable[str] = (),
    ingress: Iterable[str] = (),
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    created_at: datetime | None = LONG_AGO,
    families: Iterable[Family] | None = None,
) -> Service:
    """A Service with one port 80/TCP; families follow the cluster IPs."""
    addresses = tuple(address(text) for text in cluster_ips) if not headless else ()
    return Service(
        meta=meta(where, labels=labels, annotations=annotations, created_at=created_at),
        type=type,
        headless=headless,
        cluster_ips=addresses,
        ip_families=tuple(families) if families is not None else tuple(family_of(item) for item in addresses),
        ip_family_policy=policy,
        ports=tuple(ports) if ports is not None else (service_port(),),
        external_ips=tuple(address(text) for text in external_ips),
        ingress=tuple(LoadBalancerIngress(ip=address(text)) for text in ingress),
        selector=dict(selector) if selector is not None else None,
        internal_policy=internal_policy,
        external_policy=external_policy,
        publish_not_ready=publish_not_ready,
    )


def container(
    *ports: tuple[str, int] | tuple[str, int, str],
    name: str = "main",
    image: str = "registry.example/web:1",
    command: Iterable[str] = (),
) -> Container:
    """A container that declares ports given as (name, number) or (name, number, protocol)."""
    return Container(
        name=name,
        image=image,
        command=tuple(command),
        ports=tuple(
            ContainerPort(name=item[0], port=item[1], protocol=Protocol(item[2] if len(item) == 3 else "TCP"))
            for item in ports
        ),
    )


def pod(
    where: str = "web-1",
    *,
    ips: Iterable[str] = ("10.244.1.5",),
    node: str | None = "node01",
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    ready: bool = True,
    phase: str = "Running",
    host_network: bool = False,
    containers: Iterable[Container] = (),
    created_at: datetime | None = LONG_AGO,
    deleted_at: datetime | None = None,
) -> Pod:
    """A running, ready pod on node01."""
    return Pod(
        meta=meta(where, labels=labels, annotations=annotations, created_at=created_at, deleted_at=deleted_at),
        node_name=node,
        host_network=host_network,
        phase=phase,
        ips=tuple(address(text) for text in ips),
        ready=ready,
        containers=tuple(containers),
    )


def node(
    name: str = "node01",
    *,
    addresses: Iterable[str] = ("192.168.56.11",),
    pod_cidrs: Iterable[str] = (),
    labels: Mapping[str, str] | None = None,
    kubelet_version: str = "v1.30.3",
    os: str = "linux",
    ready: bool = True,
) -> Node:
    """A Node with InternalIP addresses."""
    return Node(
        meta=meta(ObjectKey(namespace="", name=name), labels=labels),
        pod_cidrs=tuple(network(text) for text in pod_cidrs),
        addresses=tuple(("InternalIP", text) for text in addresses),
        kubelet_version=kubelet_version,
        os=os,
        ready=ready,
    )


def endpoint(
    where: str = "10.244.1.5",
    *,
    target: str | None = "web-1",
    node: str | None = "node01",
    ready: bool | None = True,
    serving: bool | None = None,
    terminating: bool | None = None,
) -> Endpoint:
    """A ready endpoint of pod default/web-1 on node01; `target` None makes one without a pod behind it."""
    return Endpoint(
        address=address(where),
        address_text=where,
        ready=ready,
        serving=serving,
        terminating=terminating,
        node_name=node,
        target_kind="Pod" if target is not None else None,
        target=key(target) if target is not None else None,
    )


def endpoint_slice(
    owner: str | None = "web",
    *endpoints: Endpoint,
    name: str | None = None,
    ports: Iterable[SlicePort | int] = (80,),
    managed_by: str | None = CONTROLLER,
    address_type: str | None = None,
    left_alone: bool = False,
    created_at: datetime | None = LONG_AGO,
) -> EndpointSlice:
    """A slice of Service `owner`; a plain number stands for an unnamed TCP port."""
    owner_key = key(owner) if owner is not None else None
    namespace = owner_key.namespace if owner_key else "default"
    if address_type is None:
        address_type = str(family_of(endpoints[0].address)) if endpoints else "IPv4"
    label = name or f"{owner_key.name if owner_key else 'orphan'}-{address_type.lower()}"
    return EndpointSlice(
        meta=meta(ObjectKey(namespace=namespace, name=label), created_at=created_at),
        service=owner_key,
        address_type=address_type,
        endpoints=endpoints,
        ports=tuple(
            item if isinstance(item, SlicePort) else SlicePort(name="", protocol=Protocol.TCP, port=item)
            for item in ports
        ),
        managed_by=managed_by,
        left_alone=left_alone,
    )


def slice_port(port: int | None, name: str = "", protocol: str = "TCP") -> SlicePort:
    """A port of a slice."""
    return SlicePort(name=name, protocol=Protocol(protocol), port=port)


def config_map(where: str, entries: Mapping[str, str]) -> ConfigMap:
    """A ConfigMap."""
    return ConfigMap(meta=meta(where), data=dict(entries))


def daemon_set(where: str, *containers: Container) -> DaemonSet:
    """A DaemonSet."""
    return DaemonSet(meta=meta(where), containers=containers)


def service_cidr(name: str, *cidrs: str) -> ServiceCidr:
    """A ServiceCIDR."""
    return ServiceCidr(meta=meta(ObjectKey(namespace="", name=name)), cidrs=tuple(network(text) for text in cidrs))


def cluster(
    *items: Service
    | Pod
    | Node
    | EndpointSlice
    | LegacyEndpoints
    | ConfigMap
    | DaemonSet
    | ServiceCidr
    | Iterable[Service | Pod | Node | EndpointSlice],
    version: str | None = "v1.30.3",
    seen: Iterable[str] = ALL_KINDS,
    sources: Mapping[str, str] | None = None,
) -> ClusterState:
    """A reading of the API that holds the given objects, sorted into their kinds (lists are unpacked)."""
    flat: list[object] = []
    for item in items:
        if isinstance(item, Iterable):
            flat.extend(item)
        else:
            flat.append(item)
    kinds = tuple(seen)
    return ClusterState(
        server_version=version,
        services=tuple(item for item in flat if isinstance(item, Service)),
        slices=tuple(item for item in flat if isinstance(item, EndpointSlice)),
        endpoints=tuple(item for item in flat if isinstance(item, LegacyEndpoints)),
        nodes=tuple(item for item in flat if isinstance(item, Node)),
        pods=tuple(item for item in flat if isinstance(item, Pod)),
        config_maps=tuple(item for item in flat if isinstance(item, ConfigMap)),
        daemon_sets=tuple(item for item in flat if isinstance(item, DaemonSet)),
        service_cidrs=tuple(item for item in flat if isinstance(item, ServiceCidr)),
        seen=frozenset(kinds),
        sources=dict(sources) if sources is not None else {kind: f"cluster/{kind}.json" for kind in kinds},
    )


def node_view(
    name: str = "node01",
    *,
    api_node: Node | None = None,
    host: HostFacts | None = None,
    proxy_pod: Pod | None = None,
    config: ProxyConfig | None = None,
    configs: Iterable[ProxyConfig] | None = None,
    version: Version | None = (1, 30),
    version_source: str = "nodes/node01/kube-proxy.log",
    mode: ProxyMode | None = ProxyMode.IPTABLES,
    other_proxy: str | None = None,
    rulesets: Iterable[Ruleset] = (),
    recorded: bool = True,
) -> NodeView:
    """A node whose rules show iptables mode, by default with nothing else known of it."""
    return NodeView(
        name=name,
        recorded=recorded,
        node=api_node if api_node is not None else node(name),
        host=host if host is not None else HostFacts(),
        proxy_pod=proxy_pod,
        config=config,
        configs=tuple(configs) if configs is not None else ((config,) if config is not None else ()),
        version=version,
        version_source=version_source,
        mode=mode,
        other_proxy=other_proxy,
        rulesets=tuple(rulesets),
    )


def fact(
    kind: FactKind,
    value: str,
    *,
    component: str = "kube-apiserver",
    node: str | None = None,
    flag: str = "",
    source: str = "cluster/pods.json",
    line: int = 0,
) -> Fact:
    """A fact; whatever in `value` spells networks becomes its networks."""
    parsed = (parse_network(part) for part in value.split(","))
    return Fact(
        kind=kind,
        component=component,
        value=value,
        networks=tuple(item for item in parsed if item is not None),
        node=node,
        flag=flag,
        source=source,
        line=line,
    )


def view(
    state: ClusterState | None = None,
    *,
    nodes: Iterable[NodeView] = (),
    facts: Iterable[Fact] = (),
    before: ClusterState | None = None,
    cluster_config: ProxyConfig | None = None,
    reserved: Iterable[str] = (),
    taken_at: datetime | None = NOW,
) -> View:
    """A view of one reading of the API (or of two, with `before`)."""
    current = state if state is not None else cluster()
    return View(
        name="test",
        taken_at=taken_at,
        cluster=current,
        before=before if before is not None else current,
        facts=Facts(facts=tuple(facts)),
        nodes=tuple(nodes),
        cluster_config=cluster_config,
        reserved=tuple(network(text) for text in reserved),
    )
