from __future__ import annotations

from msgspec import structs

from kdiag.checks.leftover_rules_beside_replacement import CHECK
from kdiag.model.addresses import Family
from kdiag.model.host import HostFacts, InterfaceAddress, Process
from kdiag.model.report import Evidence, Finding, Severity
from kdiag.model.rules import Ruleset
from kdiag.model.view import NodeView
from kdiag.parse.iptables_save import parse_iptables_save
from kdiag.parse.nft_text import parse_nft_text
from tests.checks.builders import address, node_view, pod, view

SOURCE = "nodes/node01/iptables-save.txt"
LEFT = """\
*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-AAAAAAAAAAAAAAAA - [0:0]
:KUBE-SEP-AAAAAAAAAAAAAAAA - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODEPORTS - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 443 -j KUBE-SVC-AAAAAAAAAAAAAAAA
-A KUBE-SVC-AAAAAAAAAAAAAAAA -j KUBE-SEP-AAAAAAAAAAAAAAAA
-A KUBE-SEP-AAAAAAAAAAAAAAAA -p tcp -m tcp -j DNAT --to-destination 10.0.0.1:6443
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
COMMIT
"""
NOT_HOOKED = "".join(line for line in LEFT.splitlines(keepends=True) if "portals" not in line)
KUBELET = """\
*nat
:POSTROUTING ACCEPT [0:0]
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-MARK-DROP - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
-A POSTROUTING -j KUBE-POSTROUTING
-A POSTROUTING -j KUBE-SERVICES
-A KUBE-MARK-DROP -j MARK --set-xmark 0x8000/0x8000
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
COMMIT
*filter
:INPUT ACCEPT [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-ROUTER-INPUT - [0:0]
:KUBE-POD-FW-AAAAAAAAAAAAAAAA - [0:0]
-A INPUT -j KUBE-FIREWALL
-A INPUT -j KUBE-ROUTER-INPUT
-A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP
-A KUBE-ROUTER-INPUT -d 10.96.0.0/12 -j RETURN
-A KUBE-POD-FW-AAAAAAAAAAAAAAAA -j KUBE-NWPLCY-DEFAULT
COMMIT
"""


def ruleset(text: str) -> Ruleset:
    return parse_iptables_save(text, family=Family.IPV4, source=SOURCE)


def on_ipvs0(count: int) -> HostFacts:
    return HostFacts(
        addresses=tuple(
            InterfaceAddress(interface=link, address=address(f"10.96.0.{last}"), prefix_length=32)
            for link, last in [("eth0", 200), *(("kube-ipvs0", index + 1) for index in range(count))]
        ),
        sources={"addresses": "nodes/node01/ip-addr.json"},
    )


def found(item: NodeView) -> list[Finding]:
    return list(CHECK.run(view(nodes=[item])))


def test_rules_that_packets_still_meet() -> None:
    (finding,) = found(node_view(other_proxy="Cilium", rulesets=[ruleset(LEFT)]))
    assert (finding.code, finding.severity, finding.node) == ("KD224", Severity.WARNING, "node01")
    assert finding.actual == "3 chains with rules of kube-proxy"
    assert finding.message == (
        "Cilium does kube-proxy's work on node01, but 3 chains with rules of kube-proxy are there. Packets still get into "
        "them, from PREROUTING (nat) and OUTPUT (nat). kube-proxy was not seen to run there: nobody keeps them up "
        "to date, and whatever Cilium does not translate first goes where it went when kube-proxy stopped."
    )
    assert [(item.source, item.line) for item in finding.evidence] == [(SOURCE, 9), (SOURCE, 10)]


def test_rules_that_no_packet_meets_are_told_in_passing() -> None:
    (finding,) = found(node_view(other_proxy="Antrea", rulesets=[ruleset(NOT_HOOKED)]))
    assert finding.severity is Severity.INFO
    assert "No built-in chain leads into them" in finding.message
    assert [item.line for item in finding.evidence] == [9]


def test_both_at_work() -> None:
    rules = [ruleset(LEFT)]
    process = Process(pid=7, argv=("/usr/local/bin/kube-proxy", "--config=/c"), source="nodes/node01/ps", line=3)
    other = Process(pid=8, argv=("/usr/bin/kubelet",), source="nodes/node01/ps", line=4)
    running = [
        node_view(other_proxy="Cilium", rulesets=rules, proxy_pod=pod("kube-system/kube-proxy-x")),
        node_view(other_proxy="Cilium", rulesets=rules, host=HostFacts(processes=(other, process))),
        node_view(
            other_proxy="Cilium",
            rulesets=rules,
            host=HostFacts(proxy_mode_answer="iptables\n", sources={"proxy_mode": "nodes/node01/proxyMode"}),
        ),
    ]
    for item in running:
        (finding,) = found(item)
        assert finding.severity is Severity.INFO
        assert "two proxies are at work" in finding.message
        assert len(finding.evidence) == 3
    assert found(running[1])[0].evidence[-1] == Evidence(
        source="nodes/node01/ps", line=3, text="/usr/local/bin/kube-proxy --config=/c"
    )
    (unsourced,) = found(node_view(other_proxy="Cilium", rulesets=rules, host=HostFacts(proxy_mode_answer="ipvs")))
    assert (unsourced.severity, len(unsourced.evidence)) == (Severity.INFO, 2)


def test_what_does_not_show_that_it_runs() -> None:
    rules = [ruleset(LEFT)]
    for item in (
        node_view(other_proxy="Cilium", rulesets=rules, proxy_pod=pod("kube-system/kube-proxy-x", phase="Failed")),
        node_view(other_proxy="Cilium", rulesets=rules, host=HostFacts(proxy_mode_answer="404 page not found")),
        node_view(other_proxy="Cilium", rulesets=rules, host=HostFacts(processes=())),
    ):
        assert found(item)[0].severity is Severity.WARNING


NFT = """\
table ip kube-proxy {
\tchain nat-prerouting {
\t\ttype nat hook prerouting priority dstnat; policy accept;
\t\tjump services
\t}
\tchain services {
\t\tip daddr 10.96.0.1 drop
\t}
\tchain empty {
\t}
}
table ip filter {
\tchain KUBE-FIREWALL {
\t\tdrop
\t}
}
"""


def test_tables_of_nftables_mode() -> None:
    rules = parse_nft_text(NFT, source="nodes/node01/nft.txt")
    (finding,) = found(structs.replace(node_view(other_proxy="Cilium"), nft=rules))
    assert (finding.severity, finding.actual) == (Severity.WARNING, "2 chains with rules of kube-proxy")
    assert "from prerouting (table ip kube-proxy)" in finding.message
    assert [(item.line, item.text) for item in finding.evidence] == [(4, "jump services")]
    dormant = parse_nft_text(NFT.replace("kube-proxy {", "kube-proxy {\n\tflags dormant", 1), source="x")
    (finding,) = found(structs.replace(node_view(other_proxy="Cilium"), nft=dormant))
    assert finding.severity is Severity.INFO
    others = parse_nft_text(NFT[NFT.index("table ip filter") :], source="x")
    assert found(structs.replace(node_view(other_proxy="Cilium"), nft=others)) == []


def test_addresses_of_ipvs_mode() -> None:
    (finding,) = found(node_view(other_proxy="kube-router", host=on_ipvs0(2)))
    assert (finding.severity, finding.actual) == (Severity.WARNING, "2 addresses on kube-ipvs0")
    assert "still takes packets to the addresses on kube-ipvs0 for itself" in finding.message
    assert finding.evidence == (Evidence(source="nodes/node01/ip-addr.json", text="2 addresses on kube-ipvs0"),)
    (finding,) = found(node_view(other_proxy="Cilium", host=on_ipvs0(1), rulesets=[ruleset(LEFT)]))
    assert finding.actual == "3 chains with rules of kube-proxy and 1 address on kube-ipvs0"


def test_what_others_wrote_is_no_left_over() -> None:
    assert found(node_view(other_proxy="Cilium", rulesets=[ruleset(KUBELET)], host=on_ipvs0(0))) == []


def test_a_node_of_kube_proxy_is_left_alone() -> None:
    assert found(node_view(rulesets=[ruleset(LEFT)], host=on_ipvs0(3))) == []
