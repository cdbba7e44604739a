"""KD112: node ports outside their range, or among local ports."""

from __future__ import annotations

from msgspec import structs

from kdiag.checks.node_port_outside_range import CHECK
from kdiag.model.cluster import Service
from kdiag.model.facts import Fact, FactKind
from kdiag.model.host import HostFacts
from kdiag.model.report import Finding, Severity
from tests.checks.builders import cluster, fact, node_view, service, service_port, view


def ports(value: str, component: str = "kube-apiserver") -> Fact:
    return fact(FactKind.NODE_PORT_RANGE, value, component=component, flag="default")


def exposed(name: str, *numbers: int, health: int | None = None) -> Service:
    made = service(
        name, type="NodePort", ports=[service_port(80 + index, node_port=item) for index, item in enumerate(numbers)]
    )
    return structs.replace(made, health_check_node_port=health)


def found(*services: Service, facts: tuple[Fact, ...] = (), **sysctls: str) -> list[Finding]:
    names = {"span": "net.ipv4.ip_local_port_range", "reserved": "net.ipv4.ip_local_reserved_ports"}
    host = HostFacts(
        sysctls={names[key]: value for key, value in sysctls.items()}, sources={"sysctls": "nodes/node01/sysctls.txt"}
    )
    return list(CHECK.run(view(cluster(*services), facts=facts, nodes=[node_view(host=host)])))


def test_a_port_outside() -> None:
    (finding,) = found(exposed("a", 30080, 20080), facts=(ports("30000-32767"),))
    assert (finding.severity, finding.service, finding.port) == (Severity.WARNING, "default/a", "81/TCP")
    assert finding.actual == "20080 of default/a"
    (two,) = found(exposed("a", 20080, health=20081), facts=(ports("30000-32767"),))
    assert two.service is None
    assert [item.port for item in two.affected] == [None, "80/TCP"]
    (health,) = found(exposed("a", health=20081), facts=(ports("30000-32767"),))
    assert health.port is None


def test_inside_any_range_is_inside() -> None:
    assert found(exposed("a", 20080), facts=(ports("30000-32767"), ports("20000-21000", "k3s server"))) == []
    assert found(exposed("a", 20080)) == []
    # kubeadm's record does not count where a server is seen.
    assert len(found(exposed("a", 30080), facts=(ports("20000-21000"), ports("30000-32767", "kubeadm")))) == 1


def test_kubeadm_where_no_server_is_seen() -> None:
    assert len(found(exposed("a", 20080), facts=(ports("30000-32767", "kubeadm"),))) == 1


def test_among_the_ports_of_outgoing_connections() -> None:
    (finding,) = found(exposed("a", 33000), span="32768\t60999", reserved="")
    assert (finding.node, finding.service) == ("node01", "default/a")
    assert "32768-60999" in finding.message
    assert finding.evidence[0].source == "nodes/node01/sysctls.txt"


def test_reserved_or_unknown_ports() -> None:
    assert found(exposed("a", 33000), span="32768\t60999", reserved="8080,32000-34000") == []
    assert found(exposed("a", 30080), span="32768\t60999", reserved="") == []
    assert found(exposed("a", 33000), span="32768\t60999") == []
    assert found(exposed("a", 33000), span="odd words", reserved="") == []
