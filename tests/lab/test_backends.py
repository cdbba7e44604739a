"""Nodes with each kind of iptables, with tables of nftables' own, with sets; and each way to send what they print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kdiag.gather.framing import encodings, parse_output
from kdiag.gather.script import new_nonce, node_script
from kdiag.gather.transports import NodeAddress, Output, transport_of
from kdiag.model.rules import Backend
from kdiag.model.snapshot import Recording
from kdiag.parse.host import parse_host
from kdiag.planes.rulesets import read_ipsets, read_rulesets
from tests.lab.gathering import gather, settings, settled_state, without_counters
from tests.lab.nodes import USER, Lab, LabNode
from tests.lab.readme import readme_sudoers

USERS = ("root", USER)
FORWARD = "{ type filter hook forward priority 0; policy accept; }"


def backends(probes: dict[str, Recording], node: LabNode) -> dict[str, set[str]]:
    """Chains with KUBE in their name by backend, as the planes read them."""
    version = parse_host(probes, node=node.node)[0].iptables_version
    found: dict[str, set[str]] = {}
    rulesets, gaps = read_rulesets(node.node, probes, version)
    assert gaps == ()
    for ruleset in rulesets:
        chains = {chain for table in ruleset.tables.values() for chain in table.chains if chain.startswith("KUBE-")}
        found.setdefault(ruleset.backend.value, set()).update(chains)
    return found


@pytest.fixture(scope="module")
def legacy(lab: Lab) -> LabNode:
    return lab.start("legacy", backend="legacy", sudoers=readme_sudoers())


@pytest.fixture(scope="module")
def nft(lab: Lab) -> LabNode:
    return lab.start("nft", sudoers=readme_sudoers())


@pytest.mark.parametrize("user", USERS)
def test_legacy_is_the_default(lab: Lab, legacy: LabNode, user: str) -> None:
    before = without_counters(legacy.state())
    recordings, gaps = gather([legacy], settings(lab, [legacy], user=user))
    assert gaps == {}
    probes = recordings["legacy"]
    assert "(legacy)" in probes["iptables-version"].text()
    assert "KUBE-SERVICES" in backends(probes, legacy)[Backend.LEGACY]
    assert not backends(probes, legacy).get(Backend.NFT)
    after = settled_state(legacy, before)
    assert after == before
    assert after["legacy tables"] == "nat\n"


@pytest.mark.parametrize("user", USERS)
def test_nft_is_the_default(lab: Lab, nft: LabNode, user: str) -> None:
    before = without_counters(nft.state())
    recordings, gaps = gather([nft], settings(lab, [nft], user=user))
    assert gaps == {}
    probes = recordings["nft"]
    assert "(nf_tables)" in probes["iptables-version"].text()
    assert "KUBE-SERVICES" in backends(probes, nft)[Backend.NFT]
    assert not backends(probes, nft).get(Backend.LEGACY)
    assert not {"nft-j-list-ruleset", "nft-list-ruleset"} & set(probes)
    assert probes["nft-list-tables"].text() == "table ip nat\n"
    after = settled_state(nft, before)
    assert after == before
    assert after["legacy tables"] == ""


@pytest.mark.parametrize("user", USERS)
def test_nft_rules_beside_legacy_ones(lab: Lab, user: str) -> None:
    node = lab.start(f"legacy-{user}", backend="legacy", sudoers=readme_sudoers())
    node.run_in_network("iptables-nft", "-t", "nat", "-N", "KUBE-NEW")
    recordings, gaps = gather([node], settings(lab, [node], user=user))
    assert gaps == {}
    found = backends(recordings[node.node], node)
    assert found[Backend.NFT] == {"KUBE-NEW"}
    assert "KUBE-SERVICES" in found[Backend.LEGACY]


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("table", ["kube-proxy", "firewalld"])
def test_tables_of_nftables_own_and_iptables_rules_are_both_read(lab: Lab, user: str, table: str) -> None:
    node = lab.start(f"tables-{table}-{user}", sudoers=readme_sudoers())
    node.run_in_network("nft", "add", "table", "ip", table)
    node.run_in_network("nft", "add", "chain", "ip", table, "forward", FORWARD)
    recordings, gaps = gather([node], settings(lab, [node], user=user))
    assert gaps == {}
    probes = recordings[node.node]
    objects = json.loads(probes["nft-j-list-ruleset"].content)["nftables"]
    assert {item["chain"]["table"] for item in objects if "chain" in item} == {table, "nat"}
    assert "KUBE-SERVICES" in backends(probes, node)[Backend.NFT]
    assert "nft-list-ruleset" not in probes


@pytest.mark.parametrize("user", USERS)
def test_sets(lab: Lab, user: str) -> None:
    node = lab.start(f"sets-{user}", sudoers=readme_sudoers())
    node.run_in_network("ipset", "create", "KUBE-CLUSTER-IP", "hash:ip,port")
    node.run_in_network("ipset", "add", "KUBE-CLUSTER-IP", "10.96.0.1,tcp:443")
    node.run_in_network("ip", "link", "add", "kube-ipvs0", "type", "bridge")
    node.run_in_network("ip", "addr", "add", "10.96.0.1/32", "dev", "kube-ipvs0")
    recordings, gaps = gather([node], settings(lab, [node], user=user))
    assert gaps == {}
    probes = recordings[node.node]
    ipsets, unread = read_ipsets(node.node, probes)
    assert unread == ()
    assert set(ipsets or ()) == {"KUBE-CLUSTER-IP"}
    host, _ = parse_host(probes, node=node.node)
    assert ("kube-ipvs0", "10.96.0.1") in {(item.interface, str(item.address)) for item in host.addresses or ()}
    assert {"dst": "10.96.0.1", "dev": "kube-ipvs0"}.items() <= next(
        item.items() for item in json.loads(probes["ip-route-table-local"].content) if item["dst"] == "10.96.0.1"
    )
    assert not {"ipvsadm-save-n", "proc-net-ip_vs"} & set(probes) or Path("/proc/net/ip_vs").exists()


def sent(lab: Lab, node: LabNode, nonce: str, asked: tuple[str, ...]) -> Output:
    transport = transport_of("ssh", settings(lab, [node]))
    try:
        return transport.run(
            NodeAddress(node=node.node, host=node.address),
            node_script(nonce=nonce, encodings=asked, guarded=True),
            timeout_s=20,
            max_bytes=1 << 24,
            on_bytes=lambda count: None,
        )
    finally:
        transport.close()


@pytest.mark.parametrize(
    ("hidden", "used"), [((), "zstd"), (("zstd",), "gzip"), (("zstd", "gzip"), "plain")], ids=("zstd", "gzip", "plain")
)
def test_the_node_compresses(lab: Lab, hidden: tuple[str, ...], used: str) -> None:
    """With the node's own programs: zstd where it has one, else gzip, else not at all."""
    rules = "*nat\n:KUBE-BIG - [0:0]\n" + "".join(
        f'-A KUBE-BIG -d 10.96.{number // 200}.{number % 200}/32 -m comment --comment "default/some-service" -j RETURN\n'
        for number in range(3000)
    )
    node = lab.start(f"with-{used}", hide=hidden, rules=f"{rules}COMMIT\n")
    if used == "zstd" and "zstd=/" not in node.run("sh", text=node_script(check_only=True)):
        pytest.skip("the machine has no zstd: apt-get install zstd")
    nonce = new_nonce()
    output = sent(lab, node, nonce, ("zstd", "gzip"))
    assert f"kdiag:{nonce}:stream:{used}\n".encode() in output.stdout[:200]
    if used == "zstd" and used not in encodings():
        pytest.skip("reading Zstandard needs Python 3.14 or the package zstandard")
    recordings, gaps = parse_output(output.stdout, node=node.node, nonce=nonce)
    assert gaps == ()
    assert recordings["iptables-save"].text().count("-A KUBE-BIG ") == 3000
    size_bytes = sum(len(item.content) for item in recordings.values())
    assert len(output.stdout) < size_bytes / 5 or used == "plain"
    # And as the commands do it.
    recordings, by_node = gather([node], settings(lab, [node]))  # type: ignore[assignment]
    assert by_node == {}
