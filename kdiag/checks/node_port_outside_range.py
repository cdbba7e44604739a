"""KD112: a node port outside the range for node ports, or inside the range for outgoing connections."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kdiag.checks.addressing import APISERVER, describe_fact, fact_evidence, listed
from kdiag.checks.evidence import from_api, from_host
from kdiag.checks.interface import Check
from kdiag.checks.service_endpoints import is_served
from kdiag.model.cluster import Service
from kdiag.model.facts import Fact, FactKind
from kdiag.model.report import Affected, Finding, Severity
from kdiag.model.view import NodeView, View
from kdiag.parse.fact_values import parse_port_range

_EPHEMERAL = "net.ipv4.ip_local_port_range"
_RESERVED = "net.ipv4.ip_local_reserved_ports"

_Allocated = tuple[Service, str, int]
"""A Service, the label of its port (`80/TCP`, empty for the health check), and the node port."""


def run(view: View) -> Iterable[Finding]:
    """One finding for all node ports outside, one for all nodes whose outgoing connections may take one."""
    allocated = [
        item
        for service in sorted(view.cluster.services, key=lambda item: item.key)
        if is_served(service) and service.cluster_ips
        for item in _allocated(service)
    ]
    yield from _outside(view, allocated)
    yield from _ephemeral(view, allocated)


def _allocated(service: Service) -> Iterator[_Allocated]:
    for port in service.ports:
        if port.node_port:
            yield service, port.label, port.node_port
    if service.health_check_node_port:
        yield service, "", service.health_check_node_port


def _outside(view: View, allocated: list[_Allocated]) -> Iterator[Finding]:
    facts = _range_facts(view)
    ranges = [found for fact in facts if (found := parse_port_range(fact.value)) is not None]
    outside = [item for item in allocated if not any(low <= item[2] <= high for low, high in ranges)]
    if not ranges or not outside:
        return
    texts = [f"{number} of {service.key}" for service, _, number in outside]
    single = outside[0] if len(outside) == 1 else None
    yield CHECK.finding(
        service=str(single[0].key) if single else None,
        port=single[1] or None if single else None,
        expected=f"node ports in {listed(fact.value for fact in facts)}",
        actual=listed(texts),
        message=(
            f"Node ports outside the range {listed(fact.value for fact in facts)} "
            f"({listed(describe_fact(fact) for fact in facts)}): {listed(texts, 10)}. They work until somebody edits the Service or "
            "a firewall follows the new range."
        ),
        affected=[Affected(service=str(service.key), port=label or None) for service, label, _ in outside],
        evidence=[
            *fact_evidence(facts),
            *(
                item
                for service, _, number in outside
                for item in from_api(view.cluster, "services", f"Service {service.key} has node port {number}")
            ),
        ],
    )


def _range_facts(view: View) -> tuple[Fact, ...]:
    """The ranges that API servers allocate from; kubeadm's record only where none of them is seen."""
    stated = view.facts.of(FactKind.NODE_PORT_RANGE)
    servers = tuple(fact for fact in stated if fact.component == APISERVER or fact.component.endswith(" server"))
    return servers or stated


def _ephemeral(view: View, allocated: list[_Allocated]) -> Iterator[Finding]:
    found: dict[str, list[_Allocated]] = {}
    for node in view.nodes:
        taken = _ephemeral_ports(node)
        if taken is not None:
            low, high, reserved = taken
            clashes = [item for item in allocated if low <= item[2] <= high and not _is_reserved(item[2], reserved)]
            if clashes:
                found[node.name] = clashes
    if not found:
        return
    nodes = sorted(found)
    distinct = sorted({(str(service.key), label, number) for node in nodes for service, label, number in found[node]})
    texts = [f"{number} of {name}" for name, _, number in distinct]
    values = listed(view.node_by_name[node].host.sysctls[_EPHEMERAL].replace("\t", "-") for node in nodes)
    yield CHECK.finding(
        title="Node ports lie among the ports of outgoing connections",
        node=nodes[0] if len(nodes) == 1 else None,
        service=distinct[0][0] if len(distinct) == 1 else None,
        expected="node ports outside ip_local_port_range, or reserved",
        actual=listed(texts),
        message=(
            f"On {listed(nodes)} outgoing connections take local ports from {values}, and these node ports lie there: "
            f"{listed(texts, 10)}. Answers to a connection that happens to have such a port can be taken for traffic to the Service: "
            "it times out, at random."
        ),
        hint=f"Set {_RESERVED} to the node port range on every node.",
        affected=[
            Affected(node=node, service=str(service.key), port=label or None)
            for node in nodes
            for service, label, _ in found[node]
        ],
        evidence=[
            item
            for node in nodes
            for item in from_host(
                view.node_by_name[node],
                "sysctls",
                f"{_EPHEMERAL} = {view.node_by_name[node].host.sysctls[_EPHEMERAL]}",
            )
        ],
    )


def _ephemeral_ports(node: NodeView) -> tuple[int, int, str] | None:
    """First and last port of outgoing connections and the reserved ones; None if the node did not tell both."""
    words = node.host.sysctls.get(_EPHEMERAL, "").split()
    reserved = node.host.sysctls.get(_RESERVED)
    if (
        reserved is None
        or len(words) != 2
        or not all(word.isascii() and word.isdigit() and len(word) < 20 for word in words)
    ):
        return None
    return int(words[0]), int(words[1]), reserved


def _is_reserved(port: int, reserved: str) -> bool:
    spans = [found for word in reserved.split(",") if (found := parse_port_range(word)) is not None]
    return any(low <= port <= high for low, high in spans)


CHECK = Check(
    code="KD112",
    slug="node-port-outside-range",
    title="Node ports lie outside their range",
    severity=Severity.WARNING,
    explanation="""\
Node ports come from the API servers' `--service-node-port-range` (30000-32767 if it is not set). A Service keeps its node port
when the range is changed.

**What it does to traffic.** A node port outside goes on working, but an edit of the Service may be refused, the API server
reports it as a fault, and firewalls that follow the range block it. A node port among the local ports of outgoing
connections (`net.ipv4.ip_local_port_range`, 32768-60999 if it is not set) collides with them at random: new connections of
the node time out.

**How it is found.** Node ports and health check node ports are compared with the ranges of all API servers, and on every node
that told both sysctls with the local port range minus `net.ipv4.ip_local_reserved_ports`.

**What is left alone.** Services that are left to another proxy; clusters whose API server cannot be seen; ports that are reserved;
overlapping ranges without a node port in the overlap.
""",
    hint="Let the API server choose a new node port (remove spec.ports[].nodePort), or widen the range on all API servers.",
    run=run,
)
