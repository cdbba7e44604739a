"""`kdiag trace`: what the target is, whether it works from everywhere, and which walk is shown in full."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from kdiag.compare.judge import judge, judge_unexpected
from kdiag.compare.outcomes import describe
from kdiag.errors import TargetError
from kdiag.expect.dataplane import NEWEST
from kdiag.expect.endpoints import Candidate, candidates_of
from kdiag.model.addresses import Address, Family, parse_address
from kdiag.model.cluster import ClusterState, Pod, Service
from kdiag.model.dataplane import Behaviour, Case, Frontend, FrontendKind, Position, ServicePortKey
from kdiag.model.lookup import find_node, find_pod, find_service
from kdiag.model.objects import ObjectKey
from kdiag.model.trace import (
    AddressTarget,
    NodePortTarget,
    ServiceTarget,
    Trace,
    TraceClient,
    TraceEndpoint,
    TraceTarget,
    TraceVerdict,
    TraceWalk,
)
from kdiag.model.view import NodeView, View
from kdiag.pipeline.walking import ends, filter_seen, network_of, walk_in_full
from kdiag.walk.cases import cases_of

KIND_ORDER = (
    FrontendKind.CLUSTER_IP,
    FrontendKind.EXTERNAL_IP,
    FrontendKind.LOAD_BALANCER_IP,
    FrontendKind.NODE_PORT,
)
POSITION_ORDER = (Position.POD, Position.NODE, Position.EXTERNAL)


class Client(Struct, frozen=True, kw_only=True):
    """The client that was asked for: its position, its node and its address, each None where it is left open."""

    position: Position | None = None
    node: str | None = None
    pod: Pod | None = None


def follow(view: View, target: TraceTarget) -> Trace:
    """Answer `kdiag trace`. Raises TargetError if the view does not hold what the target names."""
    client = _client(view, target)
    title, service_ports, frontends = _resolve(view, target)
    wanted = [
        (node, frontend)
        for node in view.nodes
        if node.actual is not None and (client.node is None or node.name == client.node)
        for frontend in _frontends_on(node, frontends, target)
        if client.position is None or frontend.position is client.position
    ]
    verdicts = [_verdict(view, node, frontend) for node, frontend in wanted]
    walk: TraceWalk | None = None
    notes: list[str] = []
    chosen = _choose(verdicts)
    if chosen is not None:
        walk = walk_in_full(view, view.node_by_name[chosen.node], chosen.frontend, client.pod)
    elif client.node is not None and view.node_by_name[client.node].actual is None:
        notes.append(f"the rules of {client.node} were not read: what happens there is not known")
    elif service_ports:
        notes.append("no node was read that serves this target")
    services = sorted({key.service for key in service_ports})
    if target.service_port is None and len(service_ports) > 1:
        labels = ", ".join(str(key) for key in service_ports)
        notes.append(f"the target has several ports ({labels}); --port NAME traces one of them")
    return Trace(
        title=title,
        service_port=service_ports[0] if service_ports else None,
        endpoints=tuple(
            endpoint
            for key in services
            if key in view.cluster.service_by_key
            for endpoint in _endpoints(view, view.cluster.service_by_key[key], service_ports)
        ),
        verdicts=tuple(verdicts),
        walk=walk,
        notes=tuple(notes),
    )


def services_meant(cluster: ClusterState, target: TraceTarget) -> frozenset[ObjectKey]:
    """The Services that a target may be about. Raises TargetError if it names one that is not there."""
    match target.place:
        case ServiceTarget(service=wanted):
            return frozenset((find_service(cluster, wanted).key,))
        case AddressTarget(address=address, port_number=number):
            return frozenset(
                service.key
                for service in cluster.services
                if address in (*service.cluster_ips, *service.external_ips, *(item.ip for item in service.ingress))
                or any(port.node_port == number for port in service.ports)
            )
        case NodePortTarget(node_port=number):
            return frozenset(
                service.key for service in cluster.services if any(port.node_port == number for port in service.ports)
            )


def _client(view: View, target: TraceTarget) -> Client:
    asked: TraceClient | None = target.client
    names = [node.name for node in view.nodes]
    on_node = find_node(view.cluster, target.node, also=names) if target.node else None
    if asked is None:
        return Client(node=on_node)
    if asked.pod is not None:
        pod = find_pod(view.cluster, asked.pod)
        if pod.node_name is None:
            raise TargetError(f"pod {pod.key} runs on no node yet", hint="choose a pod that is running")
        if on_node is not None and on_node != pod.node_name and asked.position is Position.POD and not pod.host_network:
            # Seen from another node, a pod is a client from outside.
            return Client(position=Position.EXTERNAL, node=on_node, pod=pod)
        position = Position.NODE if pod.host_network else Position.POD
        return Client(position=position, node=pod.node_name, pod=None if pod.host_network else pod)
    if asked.node is not None:
        return Client(position=asked.position, node=find_node(view.cluster, asked.node, also=names))
    return Client(position=asked.position, node=on_node)


def _resolve(view: View, target: TraceTarget) -> tuple[str, tuple[ServicePortKey, ...], frozenset[Frontend]]:
    """The target's title, the Service ports that it means, and the frontends it names itself (none for a Service)."""
    match target.place:
        case ServiceTarget(service=wanted):
            service = find_service(view.cluster, wanted)
            keys = _ports_of(service, target.service_port)
            return f"Service {service.key}", keys, _frontends_of(view, set(keys))
        case AddressTarget(address=address, port_number=number, protocol=protocol):
            title = f"{address}:{number}/{protocol}"
            found = _frontends_at(view, address, number, protocol)
            if not found:
                found = frozenset(
                    Frontend(
                        address=address, protocol=protocol, port=number, kind=FrontendKind.CLUSTER_IP, position=position
                    )
                    for position in Position
                )
            return title, _owners(view, found), found
        case NodePortTarget(node=name, node_port=number, protocol=protocol):
            node = view.node_by_name[find_node(view.cluster, name, also=[item.name for item in view.nodes])]
            own = _node_address(node)
            if own is None:
                raise TargetError(f"node {name} has no address", hint="the Node object lists none")
            found = _frontends_at(view, own, number, protocol)
            if not found:
                raise TargetError(
                    f"no Service has node port {number}/{protocol}", hint="kubectl get svc -A lists the node ports"
                )
            return f"node port {number}/{protocol} on {name}", _owners(view, found), found


def _ports_of(service: Service, asked: str | int | None) -> tuple[ServicePortKey, ...]:
    found = tuple(
        ServicePortKey(service=service.key, port_name=item.name, protocol=item.protocol)
        for item in service.ports
        if asked is None or asked in (item.name, item.port, item.node_port)
    )
    if not found:
        names = ", ".join(f"{item.name or item.port}" for item in service.ports) or "none"
        raise TargetError(f"Service {service.key} has no port {asked}", hint=f"its ports are: {names}")
    if not service.cluster_ips:
        kind = "headless" if service.headless else service.type
        raise TargetError(
            f"Service {service.key} has no address of its own ({kind})",
            hint="its name resolves to other addresses; there are no rules to follow",
        )
    return found


def _frontends_of(view: View, keys: set[ServicePortKey]) -> frozenset[Frontend]:
    return frozenset(
        frontend
        for node in view.nodes
        for plane in (node.expected, node.actual)
        if plane is not None
        for frontend, behaviour in plane.behaviours.items()
        if behaviour.service_port in keys
    )


def _frontends_at(view: View, address: Address, number: int, protocol: object) -> frozenset[Frontend]:
    return frozenset(
        frontend
        for node in view.nodes
        for plane in (node.expected, node.actual)
        if plane is not None
        for frontend in plane.behaviours
        if frontend.address == address and frontend.port == number and frontend.protocol is protocol
    )


def _owners(view: View, frontends: frozenset[Frontend]) -> tuple[ServicePortKey, ...]:
    found = {
        behaviour.service_port
        for node in view.nodes
        for plane in (node.expected, node.actual)
        if plane is not None
        for frontend in frontends
        if (behaviour := plane.behaviours.get(frontend)) is not None and behaviour.service_port is not None
    }
    return tuple(sorted(found))


def _node_address(node: NodeView) -> Address | None:
    texts = [text for kind, text in (node.node.addresses if node.node else ()) if kind == "InternalIP"]
    return next((parsed for text in texts if (parsed := parse_address(text)) is not None), None)


def _frontends_on(node: NodeView, frontends: frozenset[Frontend], target: TraceTarget) -> Iterator[Frontend]:
    """The frontends to judge on a node. Of a Service's NodePorts, those at the node's own main addresses."""
    own = {text for kind, text in (node.node.addresses if node.node else ()) if kind == "InternalIP"}
    narrow = isinstance(target.place, ServiceTarget) and bool(own)
    for frontend in sorted(frontends, key=_frontend_order):
        if frontend.kind is FrontendKind.NODE_PORT:
            if narrow and str(frontend.address) not in own:
                continue
            if not _is_on(node, frontend):
                continue
        yield frontend


def _is_on(node: NodeView, frontend: Frontend) -> bool:
    """NodePort frontends of other nodes' addresses are in the union of all nodes' frontends: leave them out."""
    planes = (node.expected, node.actual)
    return any(plane is not None and frontend in plane.behaviours for plane in planes)


def _frontend_order(frontend: Frontend) -> tuple[int, int, int, int, str, int]:
    return (
        KIND_ORDER.index(frontend.kind),
        frontend.address.version,
        int(frontend.address),
        frontend.port,
        frontend.protocol,
        POSITION_ORDER.index(frontend.position),
    )


def _verdict(view: View, node: NodeView, frontend: Frontend) -> TraceVerdict:
    expected = node.expected.behaviours.get(frontend) if node.expected else None
    actual = node.actual.behaviours.get(frontend) if node.actual else None
    if actual is None or not actual.cases:
        if expected is None:
            return _verdict_of_no_service(view, node, frontend)
        return TraceVerdict(node=node.name, frontend=frontend, ok=None, expected=_most(expected), actual="not read")
    if expected is None:
        differences = judge_unexpected(node.name, frontend, actual)
        words = differences[0].actual if differences else _most(actual)
        return TraceVerdict(
            node=node.name,
            frontend=frontend,
            ok=not differences,
            expected="no Service has this address",
            actual=words,
        )
    verdict = judge(node.name, frontend, expected, actual, None, filter_seen=filter_seen(node, frontend.family))
    if verdict.differences:
        first = verdict.differences[0]
        return TraceVerdict(
            node=node.name,
            frontend=frontend,
            ok=False,
            expected=first.expected,
            actual=f"{first.actual} ({first.who})"
            if not first.who.startswith(("all", "the node itself"))
            else first.actual,
        )
    return TraceVerdict(
        node=node.name,
        frontend=frontend,
        ok=None if verdict.undecided else True,
        expected=_most(expected),
        actual=_most(actual),
    )


def _verdict_of_no_service(view: View, node: NodeView, frontend: Frontend) -> TraceVerdict:
    """An address that neither a Service nor kube-proxy's rules have: it is right as long as nobody translates it."""
    network = network_of(view, node, frontend.address)
    leaves = ends(node, network, frontend, network.clients(frontend.position, frontend.address))
    cases = cases_of(leaves)
    behaviour = Behaviour(cases=cases)
    taken = any(outcome.backends for case in cases for outcome in case.outcomes)
    return TraceVerdict(
        node=node.name,
        frontend=frontend,
        ok=None if taken or not cases else True,
        expected="no Service has this address",
        actual=_most(behaviour) if cases else "not read",
    )


def _most(behaviour: Behaviour) -> str:
    """What most clients meet, in words."""
    if not behaviour.cases:
        return "nothing in particular: its EndpointSlices contradict each other"
    case: Case = max(behaviour.cases, key=lambda item: item.clients.addresses.size)
    words = list(dict.fromkeys(describe(outcome) for outcome in case.outcomes))
    return " or ".join(words)


def _choose(verdicts: list[TraceVerdict]) -> TraceVerdict | None:
    """The walk to show: the first that is broken, else the first that is unclear, else the first."""
    for wanted in (False, None, True):
        for verdict in verdicts:
            if verdict.ok is wanted:
                return verdict
    return None


def _endpoints(view: View, service: Service, keys: tuple[ServicePortKey, ...]) -> Iterator[TraceEndpoint]:
    for item in service.ports:
        if ServicePortKey(service=service.key, port_name=item.name, protocol=item.protocol) not in keys:
            continue
        for family in Family:
            ways = candidates_of(view.cluster, service, item, family, NEWEST)
            for candidate in ways[0] if ways else ():
                yield _endpoint(view.cluster, candidate)


def _endpoint(cluster: ClusterState, candidate: Candidate) -> TraceEndpoint:
    pods = cluster.pods_by_address.get(candidate.at.address, ())
    pod = pods[0] if len(pods) == 1 else None
    return TraceEndpoint(
        address=str(candidate.at),
        pod=str(pod.key) if pod else None,
        node=candidate.node_name or (pod.node_name if pod else None),
        state=endpoint_state(candidate),
    )


def endpoint_state(candidate: Candidate) -> str:
    """`ready`, `serving, terminating`, `terminating`, or `not ready`."""
    if candidate.ready:
        return "ready"
    if candidate.terminating:
        return "serving, terminating" if candidate.serving else "terminating"
    return "not ready"
