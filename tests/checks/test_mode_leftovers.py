"""KD225: what another mode left behind, and whether packets still meet it."""

from __future__ import annotations

from msgspec import structs

from kdiag.model.report import Finding, Severity
from kdiag.model.snapshot import Snapshot
from kdiag.pipeline.flow import Scope, diagnose
from tests.corpus_fixtures import cluster, fault, variant

IPTABLES, NFT, IPVS = "v1.36.2-iptables-nft", "v1.36.2-nftables-nft", "v1.36.2-ipvs-nft"
NODE = "node01"
BOTH_TABLES = "table ip kube-proxy of nftables mode and table ip6 kube-proxy of nftables mode"


def leftovers(snapshot: Snapshot, node: str = NODE) -> list[Finding]:
    return [item for item in diagnose(snapshot, Scope(nodes=(node,))).findings if item.code == "KD225"]


def with_probes(name: str, of: str, *probes: str) -> Snapshot:
    """A cluster whose node01 also shows what the same node shows in another mode."""
    base, other = cluster(name), cluster(of).nodes[NODE]
    mine = {**base.nodes[NODE], **{probe: other[probe] for probe in probes}}
    return structs.replace(base, nodes={**base.nodes, NODE: mine})


def test_virtual_servers_and_addresses_after_a_switch_to_iptables_mode() -> None:
    (finding,) = leftovers(fault("mode-switch-leftovers"), "node02")
    assert (finding.severity, finding.node) == (Severity.WARNING, "node02")
    assert finding.actual == "85 virtual servers and 49 addresses on kube-ipvs0 of IPVS mode"
    assert {item.service for item in finding.affected} == {"default/itp-etp-local", "default/itp-local"}


def test_table_kube_proxy_beside_iptables_rules() -> None:
    (finding,) = leftovers(with_probes(IPTABLES, NFT, "nft-j-list-ruleset"))
    assert (finding.severity, finding.actual) == (Severity.WARNING, BOTH_TABLES)
    assert [item.text for item in finding.evidence] == ["table ip kube-proxy", "table ip6 kube-proxy"]


def test_iptables_rules_beside_table_kube_proxy() -> None:
    (finding,) = leftovers(with_probes(NFT, IPTABLES, "iptables-save"))
    assert finding.severity is Severity.WARNING
    assert finding.actual is not None
    assert "chains of iptables mode in nodes/node01/iptables-save.txt" in finding.actual


def test_iptables_chains_that_nothing_leads_to_are_a_remark() -> None:
    snapshot = variant(
        with_probes(NFT, IPTABLES, "iptables-save"),
        node=NODE,
        probe="iptables-save",
        edit=lambda text: "".join(line for line in text.splitlines(keepends=True) if " -j KUBE-SERVICES" not in line),
    )
    assert [item.severity for item in leftovers(snapshot)] == [Severity.INFO]


def test_virtual_servers_without_addresses_are_a_remark() -> None:
    (finding,) = leftovers(with_probes(IPTABLES, IPVS, "ipvsadm-save-n"))
    assert finding.severity is Severity.INFO
    assert finding.actual is not None
    assert finding.actual.endswith("virtual servers of IPVS mode")


def test_a_sound_node_has_none() -> None:
    for name in (IPTABLES, NFT, IPVS):
        assert leftovers(cluster(name)) == []
