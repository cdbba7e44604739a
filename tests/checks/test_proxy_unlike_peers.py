from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from kdiag.checks.proxy_unlike_peers import CHECK
from kdiag.model.proxy import ProxyConfig, ProxyMode
from kdiag.model.report import Finding, Severity
from kdiag.model.view import NodeView
from tests.checks.builders import cluster, node, node_view, view

PLAIN = ProxyConfig(source="nodes/x/configz.json", mode=ProxyMode.IPTABLES, mode_text="iptables")


def found(*nodes: NodeView) -> list[Finding]:
    return list(CHECK.run(view(cluster(), nodes=nodes)))


def fleet(changed: ProxyConfig | None = None, **changes: Any) -> list[Finding]:
    peers = [node_view(f"node0{index}", config=PLAIN) for index in (1, 2, 3)]
    return found(*peers, node_view("odd", config=changed or PLAIN, **changes))


def test_like_nodes_are_silent() -> None:
    assert fleet() == []
    assert fleet(replace(PLAIN, masquerade_bit=14, masquerade_all=False, node_port_addresses=())) == []


def test_another_release_is_worth_knowing() -> None:
    (finding,) = fleet(version=(1, 29))
    assert (finding.code, finding.severity, finding.node) == ("KD404", Severity.INFO, "odd")
    assert (finding.expected, finding.actual) == ("kube-proxy release 1.30 everywhere", "1.29 on odd")
    assert [item.node for item in finding.affected] == ["odd"]


def test_other_settings_are_a_warning() -> None:
    for changed, title in (
        (replace(PLAIN, masquerade_all=True), "masqueradeAll"),
        (replace(PLAIN, masquerade_bit=0), "masqueradeBit"),
        (replace(PLAIN, node_port_addresses=("10.0.0.0/8",)), "nodePortAddresses"),
    ):
        (finding,) = fleet(changed)
        assert (finding.severity, finding.node) == (Severity.WARNING, "odd")
        assert title in finding.title
        assert finding.evidence[0].source == "nodes/x/configz.json"


def test_another_mode_is_a_warning() -> None:
    ipvs = replace(PLAIN, mode=ProxyMode.IPVS, mode_text="ipvs")
    (finding,) = fleet(ipvs, mode=ProxyMode.IPVS)
    assert "proxy mode" in finding.title


def test_a_node_of_two_minds_is_told_elsewhere() -> None:
    assert fleet(replace(PLAIN, mode=ProxyMode.IPVS, mode_text="ipvs")) == []


def test_defaults_spelled_out_are_defaults() -> None:
    assert fleet(replace(PLAIN, node_port_addresses=("::/0", "0.0.0.0/0"))) == []
    nftables = ProxyConfig(source="x", mode=ProxyMode.NFTABLES, mode_text="nftables")
    spelled = replace(nftables, node_port_addresses=("primary",))
    assert (
        found(
            node_view("a", config=nftables, mode=ProxyMode.NFTABLES),
            node_view("b", config=spelled, mode=ProxyMode.NFTABLES),
        )
        == []
    )


def test_two_halves_have_no_odd_one() -> None:
    (finding,) = found(node_view("a", version=(1, 29)), node_view("b", version=(1, 30)))
    assert finding.node is None
    assert [item.node for item in finding.affected] == ["a", "b"]
    assert finding.actual == "1.29 on a; 1.30 on b"


def test_many_names_are_cut() -> None:
    nodes = [node_view(f"n{index}", version=(1, 30)) for index in range(8)]
    (finding,) = found(*nodes, node_view("odd", version=(1, 29)))
    assert "n0, n1, n2, n3, n4 and 3 more" in finding.message


def test_nodes_that_do_not_count() -> None:
    assert found(node_view("a"), node_view("b", version=None, mode=None)) == []
    assert found(node_view("a"), node_view("b", version=(1, 20), recorded=False)) == []
    assert found(node_view("a"), node_view("b", version=(1, 20), other_proxy="Cilium")) == []
    assert found(node_view("a"), node_view("b", version=(1, 20), api_node=node("b", os="windows"))) == []
