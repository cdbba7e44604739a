from __future__ import annotations

from typing import Any

from kdiag.checks.bridge_netfilter_off import CHECK
from kdiag.model.host import HostFacts, Interface, InterfaceAddress
from kdiag.model.proxy import ProxyConfig
from kdiag.model.report import Finding, Severity
from tests.checks.builders import address, cluster, node_view, service, view

OFF = {"net.bridge.bridge-nf-call-iptables": "0"}


def found(sysctls: dict[str, str], bridge: str | None = "cni0", *, six: bool = False, **changes: Any) -> list[Finding]:
    host = HostFacts(
        sysctls=sysctls,
        interfaces=(Interface(name="eth0"), *((Interface(name=bridge),) if bridge else ())),
        sources={"sysctls": "nodes/node01/sysctl.txt", "addresses": "nodes/node01/ip-addr.json"},
    )
    dual = service(cluster_ips=("10.96.0.1", "fd00::1") if six else ("10.96.0.1",))
    return list(CHECK.run(view(cluster(dual), nodes=[node_view(host=host, **changes)])))


def test_off_with_a_bridge_for_pods() -> None:
    (finding,) = found(OFF)
    assert (finding.code, finding.severity, finding.node) == ("KD407", Severity.ERROR, "node01")
    assert "cni0" in finding.message
    assert len(finding.evidence) == 2


def test_near_misses() -> None:
    assert found(OFF, bridge=None) == []
    assert found(OFF, bridge="docker0") == []
    assert found({}) == []
    assert found({"net.bridge.bridge-nf-call-iptables": "1"}) == []
    assert found(OFF, other_proxy="Cilium") == []


def test_the_family_counts() -> None:
    off = {"net.bridge.bridge-nf-call-iptables": "1", "net.bridge.bridge-nf-call-ip6tables": "0"}
    assert found(off) == []
    (finding,) = found(off, six=True)
    assert finding.actual == "net.bridge.bridge-nf-call-ip6tables = 0"


def test_masquerade_all_hides_it() -> None:
    (finding,) = found(OFF, config=ProxyConfig(source="x", masquerade_all=True))
    assert finding.severity is Severity.INFO
    assert found(OFF, config=ProxyConfig(source="x"))[0].severity is Severity.ERROR


def test_a_bridge_that_only_the_addresses_show() -> None:
    host = HostFacts(
        sysctls=OFF,
        addresses=(InterfaceAddress(interface="cbr0", address=address("10.244.1.1"), prefix_length=24),),
    )
    assert len(list(CHECK.run(view(cluster(), nodes=[node_view(host=host)])))) == 1
