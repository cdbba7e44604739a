"""A cluster made up from a seed: Services, their endpoints, nodes, and what single nodes have wrong."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

CLUSTER_CIDR = "10.0.0.0/8"
SERVICE_CIDR = "172.16.0.0/16"
NODE_PORTS = range(30000, 32768)
"""kube-apiserver's default --service-node-port-range."""
PODS_PER_NODE = 110
"""kubelet's default maxPods."""
LARGE_CLUSTER_ENDPOINTS = 1000
"""With more endpoints than this kube-proxy leaves out the comments of the chains that are made for each endpoint
(largeClusterEndpointsThreshold in pkg/proxy/iptables/proxier.go)."""

_FIRST_SERVICE = int(IPv4Address("172.16.1.0"))
_FIRST_LOAD_BALANCER = int(IPv4Address("198.18.0.1"))
_FIRST_NODE = int(IPv4Address("192.168.0.1"))
_FIRST_STALE = int(IPv4Address("10.250.0.1"))
"""Addresses of pods that are gone: in the pods' range, of no node."""

FAULTS = ("stale-endpoint", "missing-endpoint", "wrong-port", "missing-frontend")
"""What is planted, in turns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What cluster to make; shares are from 0 to 1. `cluster_nodes` are in the API, `nodes` of them are recorded."""

    services: int = 100
    endpoints: int = 3
    nodes: int = 1
    cluster_nodes: int = 0
    mode: str = "iptables"
    seed: int = 1
    diff: float = 0.0
    plant: int = 0
    namespaces: int = 200
    udp: float = 0.05
    affinity: float = 0.03
    node_port: float = 0.10
    load_balancer: float = 0.2
    local: float = 0.2
    comments: str = "auto"
    per_slice: int = 100
    images: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node; its pods have addresses in `pod_cidr`."""

    number: int
    name: str
    address: str
    pod_prefix: str
    zone: str

    @property
    def pod_cidr(self) -> str:
        return f"{self.pod_prefix}.0/24"

    @property
    def bridge_address(self) -> str:
        """That of the bridge which pods are connected to."""
        return f"{self.pod_prefix}.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """`port` is set where it is not the Service port's target."""

    address: str
    node: int
    pod: str
    port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port of a Service; `node_port` is 0 if there is none."""

    name: str
    protocol: str
    port: int
    target: int
    node_port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A Service. `local` is externalTrafficPolicy Local, `health_port` the healthCheckNodePort or 0."""

    number: int
    namespace: str
    name: str
    cluster_ip: str
    ports: tuple[Port, ...]
    endpoints: tuple[Endpoint, ...]
    load_balancer_ip: str = ""
    affinity: bool = False
    local: bool = False
    health_port: int = 0
    selects: bool = True
    pods_on_host: bool = False

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def type(self) -> str:
        if self.load_balancer_ip:
            return "LoadBalancer"
        return "NodePort" if self.ports[0].node_port else "ClusterIP"

    def port_name(self, port: Port) -> str:
        """The name of a Service port in comments and hashes: `namespace/service:port`."""
        return f"{self.key}:{port.name}" if port.name else self.key


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """A Service that a node has wrong, and how; `different` is what --diff made, else it was planted."""

    node: str
    service: str
    kind: str
    different: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """What kube-proxy of a node has in place of some Services, by number, and which it does not dispatch to."""

    node: Node
    instead: Mapping[int, Service] = field(default_factory=dict)
    undispatched: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The whole cluster; `states` are those of the recorded nodes."""

    options: Options
    services: tuple[Service, ...]
    nodes: tuple[Node, ...]
    states: tuple[NodeState, ...]
    wrong: tuple[Wrong, ...]

    @property
    def large(self) -> bool:
        """True if comments are left out where there is a chain for each endpoint."""
        if self.options.comments != "auto":
            return self.options.comments == "off"
        return sum(len(service.endpoints) for service in self.services) > LARGE_CLUSTER_ENDPOINTS

    def services_of(self, state: NodeState) -> Iterator[Service]:
        """The Services as the node has them."""
        return (state.instead.get(service.number, service) for service in self.services)


def make_cluster(options: Options) -> Cluster:
    """The cluster of these options: the same options make the same cluster."""
    total = options.services * options.endpoints
    needed = max(options.nodes, math.ceil(total / (PODS_PER_NODE - 10)), 3)
    if options.cluster_nodes and options.cluster_nodes < needed:
        raise ValueError(f"{total} endpoints need at least {needed} nodes")
    nodes = tuple(_node(number) for number in range(options.cluster_nodes or needed))
    services = tuple(_services(options, nodes))
    states, wrong = _states(options, services, nodes)
    return Cluster(options=options, services=services, nodes=nodes, states=states, wrong=wrong)


def _node(number: int) -> Node:
    return Node(
        number=number,
        name=f"node-{number:04}",
        address=str(IPv4Address(_FIRST_NODE + number)),
        pod_prefix=f"10.{number >> 8}.{number & 255}",
        zone=f"zone-{'abc'[number % 3]}",
    )


def _services(options: Options, nodes: tuple[Node, ...]) -> Iterator[Service]:
    rnd = random.Random(options.seed)
    taken = [1] * len(nodes)  # the last host part given away on each node; .1 is the bridge's

    def pods(name: str, count: int, on: int) -> tuple[Endpoint, ...]:
        made = []
        for index in range(count):
            node = (on + index) % len(nodes)
            taken[node] += 1
            made.append(Endpoint(address=f"{nodes[node].pod_prefix}.{taken[node]}", node=node, pod=f"{name}-{index}"))
        return tuple(made)

    yield Service(
        number=0,
        namespace="default",
        name="kubernetes",
        cluster_ip="172.16.0.1",
        ports=(Port(name="https", protocol="TCP", port=443, target=6443),),
        endpoints=(Endpoint(address=nodes[0].address, node=0, pod=""),),
        selects=False,
        pods_on_host=True,
    )
    yield Service(
        number=1,
        namespace="kube-system",
        name="kube-dns",
        cluster_ip="172.16.0.10",
        ports=(
            Port(name="dns", protocol="UDP", port=53, target=53),
            Port(name="dns-tcp", protocol="TCP", port=53, target=53),
            Port(name="metrics", protocol="TCP", port=9153, target=9153),
        ),
        endpoints=pods("coredns", 2, 1),
    )
    node_ports = iter(NODE_PORTS)
    on = 0
    for index in range(options.services):
        protocol = "UDP" if rnd.random() < options.udp else "TCP"
        name = f"service-{index:05}"
        affinity = rnd.random() < options.affinity
        external = rnd.random() < options.node_port
        local = external and rnd.random() < options.local
        balanced = external and rnd.random() < options.load_balancer
        yield Service(
            number=index + 2,
            namespace=f"team-{index % options.namespaces:03}",
            name=name,
            cluster_ip=str(IPv4Address(_FIRST_SERVICE + index)),
            ports=(
                Port(
                    name="http" if index % 2 else "",
                    protocol=protocol,
                    port=80 if index % 3 else 8443,
                    target=8080,
                    node_port=next(node_ports) if external else 0,
                ),
            ),
            endpoints=pods(name, options.endpoints, on),
            load_balancer_ip=str(IPv4Address(_FIRST_LOAD_BALANCER + index)) if balanced else "",
            affinity=affinity,
            local=local,
            health_port=next(node_ports) if local and balanced else 0,
        )
        on += options.endpoints


def _states(
    options: Options, services: tuple[Service, ...], nodes: tuple[Node, ...]
) -> tuple[tuple[NodeState, ...], tuple[Wrong, ...]]:
    """The recorded nodes. The first has only what was planted there, the others also their share of differing lines."""
    wrong: list[Wrong] = []
    stale = iter(range(_FIRST_STALE, int(IPv4Address("10.254.255.254"))))
    rnd = random.Random(f"plant/{options.seed}")
    ordinary = services[2:]
    planted: dict[int, list[tuple[Service, str]]] = {}
    for index, service in enumerate(rnd.sample(ordinary, options.plant)):
        kind = FAULTS[index % len(FAULTS)]
        if len(service.endpoints) < 2 and kind == "missing-endpoint":
            kind = "stale-endpoint"
        planted.setdefault(index % options.nodes, []).append((service, kind))
    states = []
    for node in nodes[: options.nodes]:
        instead: dict[int, Service] = {}
        undispatched = set()
        for service, kind in planted.get(node.number, ()):
            wrong.append(Wrong(node=node.name, service=service.key, kind=kind))
            if kind == "missing-frontend":
                undispatched.add(service.number)
            else:
                instead[service.number] = _spoilt(service, kind, next(stale))
        if options.diff and node.number:
            for service in _differing(options, ordinary, node):
                if service.number not in instead and service.number not in undispatched:
                    instead[service.number] = _aged(service, stale)
                    wrong.append(Wrong(node=node.name, service=service.key, kind="stale-endpoint", different=True))
        states.append(NodeState(node=node, instead=instead, undispatched=frozenset(undispatched)))
    return tuple(states), tuple(wrong)


def _spoilt(service: Service, kind: str, stale: int) -> Service:
    first, *others = service.endpoints
    if kind == "missing-endpoint":
        return replace(service, endpoints=tuple(others))
    if kind == "wrong-port":
        return replace(service, endpoints=(replace(first, port=service.ports[0].target + 1), *others))
    return replace(service, endpoints=(replace(first, address=str(IPv4Address(stale))), *others))


def _aged(service: Service, stale: Iterator[int]) -> Service:
    """Half of the endpoints, at least one, are those of pods that are gone."""
    count = max(1, len(service.endpoints) // 2)
    gone = tuple(replace(item, address=str(IPv4Address(next(stale)))) for item in service.endpoints[:count])
    return replace(service, endpoints=(*gone, *service.endpoints[count:]))


def _differing(options: Options, ordinary: tuple[Service, ...], node: Node) -> Iterator[Service]:
    """As many Services as make a share of `diff` of the lines differ: four lines for each endpoint that is replaced."""
    rnd = random.Random(f"diff/{options.seed}/{node.number}")
    wanted = options.diff * len(ordinary) * (2 + 4 * options.endpoints)
    for service in rnd.sample(ordinary, len(ordinary)):
        if wanted <= 0:
            return
        wanted -= 4 * max(1, len(service.endpoints) // 2)
        yield service
