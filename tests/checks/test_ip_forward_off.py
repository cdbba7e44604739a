from __future__ import annotations

from typing import Any

import pytest

from kdiag.checks.ip_forward_off import CHECK
from kdiag.model.host import HostFacts
from kdiag.model.report import Finding, Severity
from tests.checks.builders import cluster, node, node_view, service, view


def found(sysctls: dict[str, str], *ips: str, **changes: Any) -> list[Finding]:
    host = HostFacts(sysctls=sysctls, sources={"sysctls": "nodes/node01/sysctl.txt"})
    services = [service(f"s{index}", cluster_ips=(text,)) for index, text in enumerate(ips or ("10.96.0.1",))]
    return list(CHECK.run(view(cluster(services), nodes=[node_view(host=host, **changes)])))


@pytest.mark.parametrize("sysctl", ["net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding"])
def test_forwarding_off(sysctl: str) -> None:
    (finding,) = found({sysctl: "0"})
    assert (finding.code, finding.severity, finding.node) == ("KD406", Severity.ERROR, "node01")
    assert [(item.source, item.text) for item in finding.evidence] == [("nodes/node01/sysctl.txt", f"{sysctl} = 0")]


def test_forwarding_on_or_not_recorded() -> None:
    assert found({"net.ipv4.ip_forward": "1"}) == []
    assert found({}) == []


def test_ipv6_counts_only_with_ipv6_services() -> None:
    off = {"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "0"}
    assert found(off) == []
    assert len(found(off, "10.96.0.1", "fd00::1")) == 1


def test_ipv4_does_not_count_in_an_ipv6_cluster() -> None:
    assert found({"net.ipv4.ip_forward": "0", "net.ipv6.conf.all.forwarding": "1"}, "fd00::1") == []


def test_other_proxies_and_systems_are_left_alone() -> None:
    assert found({"net.ipv4.ip_forward": "0"}, other_proxy="Cilium") == []
    assert found({"net.ipv4.ip_forward": "0"}, api_node=node(os="windows")) == []
