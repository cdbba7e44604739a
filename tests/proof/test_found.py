"""What the proof found once: each rule set is the smallest that showed it, and the kernel's answer is written beside it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kdiag.model.addresses import Family, Protocol, parse_address, parse_network
from kdiag.model.cluster import Node
from kdiag.model.dataplane import Disposition, Position
from kdiag.model.host import HostFacts
from kdiag.model.objects import Metadata, ObjectKey
from kdiag.model.report import Severity
from kdiag.model.rules import IpSet
from kdiag.parse.iptables_save import parse_iptables_save
from kdiag.parse.nft_json import parse_nft_json
from kdiag.pipeline.flow import Scope, diagnose
from kdiag.walk.iptables_rules import IptablesSpace
from kdiag.walk.network import NodeNetwork, node_network
from kdiag.walk.nft_rules import NftSpace
from tests.corpus_fixtures import cluster, variant, variant_api
from tests.proof.packets import Packet
from tests.proof.referee import leaves_of, walker_for

SERVICE = "10.96.0.1"
STATE = {"ct": {"key": "state"}}


def _chain(name: str, kind: str, priority: int, *rules: list[object], hook: str = "prerouting") -> list[object]:
    where = {"family": "ip", "table": "t"}
    base = {**where, "name": name, "type": kind, "hook": hook, "prio": priority, "policy": "accept"}
    return [
        {"chain": base},
        *({"rule": {**where, "chain": name, "handle": at, "expr": expr}} for at, expr in enumerate(rules, 2)),
    ]


def _network(*own: str) -> NodeNetwork:
    pod_cidr = parse_network("10.244.1.0/24")
    assert pod_cidr is not None
    meta = Metadata(key=ObjectKey(namespace="", name="node"))
    node = Node(
        meta=meta, pod_cidrs=(pod_cidr,), addresses=tuple(("InternalIP", text) for text in own or ("192.168.50.1",))
    )
    return node_network(Family.IPV4, HostFacts(), node, ())


def _ends(*chains: list[object], own: tuple[str, ...] = ()) -> set[tuple[Disposition, str | None]]:
    objects = [{"table": {"family": "ip", "name": "t"}}, *(item for chain in chains for item in chain)]
    ruleset = parse_nft_json(json.dumps({"nftables": objects}), source="found")
    assert not ruleset.unread
    packet = Packet(position=Position.POD, source="10.244.1.10", destination=SERVICE, protocol=Protocol.TCP, port=80)
    assert parse_address(SERVICE) is not None
    leaves = leaves_of(walker_for(NftSpace(ruleset, Family.IPV4), _network(*own)), packet)
    return {(leaf.fate.disposition, str(leaf.fate.backend) if leaf.fate.backend else None) for leaf in leaves}


DNAT = _chain("nat", "nat", -100, [{"dnat": {"addr": "10.244.2.10", "port": 8080}}])
TRANSLATED = {(Disposition.BACKEND, "10.244.2.10:8080")}


@pytest.mark.parametrize(
    ("priority", "expected"), [(-300, {(Disposition.UNTRANSLATED, None)}), (-150, TRANSLATED), (0, TRANSLATED)]
)
def test_notrack_after_connection_tracking_does_nothing(
    priority: int, expected: set[tuple[Disposition, str | None]]
) -> None:
    # nft_notrack_eval: what has a connection is left as it is. Priority 0 comes after nat.
    assert _ends(_chain("early", "filter", priority, [{"notrack": None}]), DNAT) == expected


@pytest.mark.parametrize(
    ("priority", "state", "dropped"),
    [(-300, "invalid", True), (-300, "new", False), (-150, "new", True), (-150, "invalid", False)],
)
def test_before_connection_tracking_the_state_is_invalid(priority: int, state: str, dropped: bool) -> None:
    # nft_ct_get_eval: without a connection the state is invalid.
    rule: list[object] = [{"match": {"op": "in", "left": STATE, "right": state}}, {"drop": None}]
    ends = _ends(_chain("early", "filter", priority, rule))
    assert ({disposition for disposition, _ in ends} == {Disposition.DROPPED}) is dropped


@pytest.mark.parametrize(("priority", "dropped"), [(-300, False), (-150, True)])
def test_before_connection_tracking_there_is_no_connection_mark(priority: int, dropped: bool) -> None:
    # NFT_BREAK where there is no connection, also for the mark that every connection begins with.
    rule: list[object] = [{"match": {"op": "==", "left": {"ct": {"key": "mark"}}, "right": 0}}, {"drop": None}]
    ends = _ends(_chain("early", "filter", priority, rule))
    assert ({disposition for disposition, _ in ends} == {Disposition.DROPPED}) is dropped


@pytest.mark.parametrize(("priority", "dropped"), [(-300, False), (-150, True)])
def test_before_connection_tracking_no_connection_has_a_protocol(priority: int, dropped: bool) -> None:
    rule: list[object] = [{"match": {"op": "==", "left": {"ct": {"key": "protocol"}}, "right": "tcp"}}, {"drop": None}]
    ends = _ends(_chain("early", "filter", priority, rule))
    assert ({disposition for disposition, _ in ends} == {Disposition.DROPPED}) is dropped


CT_MARK = {"ct": {"key": "mark"}}
META_MARK = {"meta": {"key": "mark"}}


@pytest.mark.parametrize(("priority", "ends"), [(-300, Disposition.UNTRANSLATED), (-150, Disposition.DROPPED)])
def test_a_rule_ends_where_it_sets_a_mark_to_that_of_a_connection_that_is_not_there(
    priority: int, ends: Disposition
) -> None:
    # nft_ct_get_eval again: NFT_BREAK, so neither the mark is set nor is the verdict behind it reached.
    rule: list[object] = [{"mangle": {"key": META_MARK, "value": CT_MARK}}, {"drop": None}]
    assert _ends(_chain("early", "filter", priority, rule)) == {(ends, None)}


@pytest.mark.parametrize(
    ("network", "ends"),
    [("10.96.0.0/16", Disposition.UNTRANSLATED), ("192.168.50.0/24", Disposition.DROPPED)],
)
def test_a_source_that_was_masqueraded_is_looked_up_where_all_it_may_be_gives_the_same(
    network: str, ends: Disposition
) -> None:
    # Which of the node's addresses it is, is not known; that none of them, or all, are in the network is.
    address, _, length = network.partition("/")
    key = {"payload": {"protocol": "ip", "field": "saddr"}}
    elements = {"set": [[{"prefix": {"addr": address, "len": int(length)}}, {"drop": None}]]}
    chains = (
        _chain("source", "nat", 100, [{"masquerade": None}], hook="postrouting"),
        _chain("later", "filter", 300, [{"vmap": {"key": key, "data": elements}}], hook="postrouting"),
    )
    assert {disposition for disposition, _ in _ends(*chains)} == {ends}


def test_a_source_that_was_masqueraded_and_may_be_in_a_map_is_followed_both_ways() -> None:
    # One of the node's addresses is in the network and the others are not: the packets are dropped, or they pass.
    key = {"payload": {"protocol": "ip", "field": "saddr"}}
    elements = {"set": [[{"prefix": {"addr": "10.99.0.0", "len": 16}}, {"drop": None}]]}
    chains = (
        _chain("source", "nat", 100, [{"masquerade": None}], hook="postrouting"),
        _chain("later", "filter", 300, [{"vmap": {"key": key, "data": elements}}], hook="postrouting"),
    )
    found = _ends(*chains, own=("192.168.50.1", "10.99.0.1"))
    assert {disposition for disposition, _ in found} == {Disposition.DROPPED, Disposition.UNTRANSLATED}


@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP, Protocol.SCTP])
def test_a_bitmap_of_ports_knows_no_port_of_sctp(protocol: Protocol) -> None:
    # ip_set_get_ip_port; kube-proxy's IPVS mode keeps its SCTP ports in a hash for that.
    text = """*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -m set --match-set ports dst -j DROP
COMMIT
"""
    ruleset = parse_iptables_save(text, family=Family.IPV4, source="found")
    ports = IpSet(name="ports", type="bitmap:port", members=frozenset({"80"}))
    walker = walker_for(IptablesSpace(ruleset), _network(), {"ports": ports})
    packet = Packet(position=Position.POD, source="10.244.1.10", destination=SERVICE, protocol=protocol, port=80)
    (leaf,) = leaves_of(walker, packet)
    assert (leaf.fate.disposition is Disposition.DROPPED) is (protocol is not Protocol.SCTP)


# -- mutations -----------------------------------------------------------------------------------------------------------


def test_a_node_port_that_no_service_has_is_looked_for_where_node_ports_are_open() -> None:
    """In nftables mode at the addresses of set nodeport-ips: the node's first address may be another one."""

    def moved(text: str) -> str:
        assert text.count('["udp", 30131]') == 1
        return text.replace('["udp", 30131]', '["udp", 30999]')

    edited = variant(cluster("v1.36.2-nftables-nft"), node="node01", probe="nft-j-list-ruleset", edit=moved)
    found = [item for item in diagnose(edited, Scope(nodes=("node01",))).findings if item.code.startswith("KD2")]
    assert [(item.code, item.node, item.service) for item in found] == [
        ("KD201", "node01", "default/np-tcp-udp"),
        ("KD202", "node01", "default/np-tcp-udp"),
    ]
    assert "NodePort 30999/UDP" in found[1].message


def test_masquerade_under_another_name_is_no_error() -> None:
    """Somebody moved kube-proxy's chain: its next sync will stumble over that, and no packet of today does."""
    edited = variant(
        cluster("v1.36.2-ipvs-nft"),
        node="node01",
        probe="iptables-save",
        edit=lambda text: text.replace("KUBE-POSTROUTING", "KUBE-POSTROUTING-OLD"),
    )
    found = [item for item in diagnose(edited, Scope(nodes=("node01",))).findings if item.code.startswith("KD2")]
    assert {(item.code, item.severity) for item in found} == {("KD210", Severity.WARNING), ("KD213", Severity.WARNING)}
    for item in found:
        assert "No Service was found to suffer from it now" in item.message
        assert "the connection hangs" not in item.message


def test_refusing_a_port_that_is_refused_anyway_is_no_finding() -> None:
    """An element of no-endpoint-services for another port of a ClusterIP: chain cluster-ips-check refuses that port, too."""

    def moved(text: str) -> str:
        whole = json.loads(text)
        for item in whole["nftables"]:
            found = item.get("map", {})
            if (found.get("family"), found.get("name")) == ("ip", "no-endpoint-services"):
                for key, _ in found["elem"]:
                    concat = key["elem"]["val"]["concat"]
                    concat[2] += concat[0] == "10.96.100.9"
        return json.dumps(whole)

    edited = variant(cluster("v1.36.2-nftables-nft"), node="node01", probe="nft-j-list-ruleset", edit=moved)
    assert [item for item in diagnose(edited, Scope(nodes=("node01",))).findings if item.code.startswith("KD2")] == []


def test_refusing_an_address_that_no_service_has_is_a_finding() -> None:
    def headless(services: dict[str, Any]) -> None:
        (found,) = (item for item in services["items"] if item["metadata"]["name"] == "no-eps")
        found["spec"].update(clusterIP="None", clusterIPs=["None"])

    edited = variant_api(cluster("v1.36.2-nftables-nft"), "services", headless)
    found = [item for item in diagnose(edited, Scope(nodes=("node01",))).findings if item.code.startswith("KD2")]
    assert [(item.code, item.node) for item in found] == [("KD202", "node01")]
    assert "10.96.100.9:80" in found[0].message
