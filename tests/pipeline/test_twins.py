"""Service ports that are alike are judged once: the report is the one that judging each of them gives."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from bench.generator.cluster import Options, make_cluster
from bench.generator.snapshot import write_snapshot
from kdiag.gather.snapshot_reader import read_snapshot
from kdiag.model.objects import ObjectKey
from kdiag.model.snapshot import Recording, Snapshot
from kdiag.model.trace import ServiceTarget, TraceTarget
from kdiag.parse.nft_rest import prefixes_spelled
from kdiag.pipeline.flow import Scope, diagnose, trace
from kdiag.pipeline.offers import SortedOffers
from kdiag.planes import rulesets
from tests.corpus_fixtures import FAULTS, FAULTS_DUAL, cluster, fault
from tests.pipeline.uncut import CLUSTERS, NODE, one_by_one

VERDICTS = ("-j ACCEPT", "-j DROP", "-j RETURN", "-s 10.244.0.0/17 -j ACCEPT", "-p udp -j DROP", "-j KUBE-MARK-MASQ")


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_healthy_cluster(name: str, cutting: list[SortedOffers]) -> None:
    snapshot = cluster(name)
    assert diagnose(snapshot, Scope()) == one_by_one(snapshot)
    assert cutting
    for offers in cutting:
        assert len(list(offers.twins())) > len(offers.kinds)


@pytest.mark.parametrize("name", [*FAULTS, *FAULTS_DUAL])
def test_a_fault(name: str, cutting: list[SortedOffers]) -> None:
    snapshot = fault(name)
    assert diagnose(snapshot, Scope()) == one_by_one(snapshot)
    assert cutting


def test_kinds_are_walked_at_few_services(
    cutting: list[SortedOffers], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_snapshot(make_cluster(Options(services=200, endpoints=3)), tmp_path)
    snapshot = read_snapshot(tmp_path)

    def walked() -> int:
        cutting.clear()
        diagnose(snapshot, Scope())
        (offers,) = cutting
        return len({id(offer.item) for offer in offers.walked()})

    few = walked()
    monkeypatch.setattr(SortedOffers, "_share_walks", lambda _: None)
    assert few < walked()


@pytest.mark.parametrize(
    "rule",
    ["-s 10.0.0.0/8 -j ACCEPT", "-d 10.0.0.0/24 -j DROP", "! -d 10.0.0.0/24 -j DROP", "-s 10.0.0.0/24 -j REJECT"],
)
def test_kinds_that_differ_in_where_their_endpoints_are(
    rule: str, cutting: list[SortedOffers], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What holds for endpoints on the node and elsewhere holds for those elsewhere alone, unless something is wrong with it."""
    write_snapshot(make_cluster(Options(services=120, endpoints=3, diff=0.02)), tmp_path)
    changed = with_rule(read_snapshot(tmp_path), rule)
    assert diagnose(changed, Scope()) == one_by_one(changed)
    (joined,) = cutting
    cutting.clear()
    monkeypatch.setattr(SortedOffers, "_shown_by_others", lambda *_: {})
    diagnose(changed, Scope())
    assert len(joined.kinds) < len(cutting[0].kinds)


@pytest.mark.parametrize(
    ("rule", "asks"),
    [
        ("-j ACCEPT", False),
        ("-p tcp -m tcp --dport 22 -j ACCEPT", False),
        ("-p icmp -j ACCEPT", False),
        ("-p udp -j DROP", True),
        ("-p udp -m udp ! --dport 80 -j DROP", True),
        ("-p tcp -m multiport --ports 80 -j DROP", True),
        ("! -p tcp -m statistic --mode random --probability 0.5 -j DROP", True),
        ("-m conntrack --ctproto 17 -j DROP", True),
    ],
)
def test_kinds_that_differ_in_their_protocol(
    rule: str, asks: bool, cutting: list[SortedOffers], tmp_path: Path
) -> None:
    """What holds for TCP holds for UDP, unless a rule asks for the protocol."""
    write_snapshot(make_cluster(Options(services=60, endpoints=3, udp=0.5, diff=0.02)), tmp_path)
    snapshot = with_rule(read_snapshot(tmp_path), rule)
    assert diagnose(snapshot, Scope()) == one_by_one(snapshot)
    (offers,) = cutting
    together = [kind for kind, mine in offers.kinds.items() if len({offer.item.protocol for offer in mine}) > 1]
    assert bool(together) is not asks


def test_a_port_that_a_rule_names_for_one_protocol(cutting: list[SortedOffers], tmp_path: Path) -> None:
    """At that port TCP and UDP are told apart, and at others not."""
    write_snapshot(make_cluster(Options(services=60, endpoints=3, udp=0.5)), tmp_path)
    snapshot = with_rule(read_snapshot(tmp_path), "-p udp -m udp --dport 8080 -j DROP")
    report = diagnose(snapshot, Scope())
    assert report == one_by_one(snapshot)
    assert report.findings
    assert any(len({offer.item.protocol for offer in mine}) > 1 for mine in cutting[0].kinds.values())


def with_rule(snapshot: Snapshot, rule: str) -> Snapshot:
    """The only node of a snapshot with a rule in front of all others in FORWARD."""
    (node,) = snapshot.nodes
    probes = dict(snapshot.nodes[node])
    recording = probes["iptables-save"]
    content = recording.content.replace(b"\n-A FORWARD", f"\n-A FORWARD {rule}\n-A FORWARD".encode(), 1)
    assert content != recording.content
    probes["iptables-save"] = recording.replaced(content=content)
    return replace(snapshot, nodes={node: probes})


def edited(snapshot: Snapshot, seed: int, node: str = NODE) -> Snapshot:
    """Only this node, its rules with one line deleted, doubled, swapped with the next, added, or changed in one number or word."""
    chance = random.Random(seed)
    probes = dict(snapshot.nodes[node])
    recording = probes["iptables-save"]
    lines = recording.content.decode().split("\n")
    rules = [index for index, line in enumerate(lines[:-2]) if line.startswith("-A ")]
    index = chance.choice(rules)
    line = lines[index]
    match chance.randrange(6):
        case 0:
            del lines[index]
        case 1:
            lines.insert(index, line)
        case 2:
            lines[index : index + 2] = [lines[index + 1], line] if lines[index + 1].startswith("-A ") else [line]
        case 3:
            place = chance.choice(list(re.finditer(r"[0-9]+", line)) or [re.match("-A", line)])
            if place is not None:
                lines[index] = f"{line[: place.start()]}{chance.randrange(256)}{line[place.end() :]}"
        case 4:
            words = line.split(" ")[:2]
            lines.insert(index + chance.randrange(2), " ".join([*words, chance.choice(VERDICTS)]))
        case _:
            other = lines[chance.choice(rules)]
            words, others = line.split(" "), other.split(" ")
            words[chance.randrange(2, len(words))] = others[chance.randrange(2, len(others))]
            lines[index] = " ".join(words)
    probes["iptables-save"] = recording.replaced(content="\n".join(lines).encode())
    return replace(snapshot, nodes={node: probes})


@pytest.mark.parametrize("name", CLUSTERS[:3])
@pytest.mark.parametrize("seed", range(12))
def test_an_edited_line(name: str, seed: int, cutting: list[SortedOffers]) -> None:
    snapshot = edited(cluster(name), seed)
    assert diagnose(snapshot, Scope(nodes=(NODE,))) == one_by_one(snapshot, NODE)


@pytest.mark.parametrize("name", CLUSTERS[:3])
@pytest.mark.parametrize("seed", range(8))
def test_an_edited_line_on_a_further_node(name: str, seed: int, cutting: list[SortedOffers]) -> None:
    whole, other = cluster(name), "node02"
    nodes = {NODE: whole.nodes[NODE], **edited(whole, seed, other).nodes}
    snapshot = replace(whole, nodes=nodes)
    assert diagnose(snapshot, Scope(nodes=(NODE, other))) == one_by_one(snapshot, NODE, other)


def test_what_is_the_same_on_a_further_node_is_taken_over(cutting: list[SortedOffers]) -> None:
    diagnose(cluster(CLUSTERS[0]), Scope(nodes=(NODE, "node02")))
    first, further = cutting
    assert not first.taken_over.spots
    assert further.taken_over.spots == {offer.spot for offer in first.here if offer.item.everywhere}
    assert further.unwalked().spots > further.taken_over.spots


@pytest.mark.parametrize("name", CLUSTERS[:2])
@pytest.mark.parametrize("at", range(0, 40, 8))
def test_a_service_that_is_listed_twice(name: str, at: int, cutting: list[SortedOffers]) -> None:
    """No API server does that; the first one counts, however much of the dump is looked at."""
    whole = cluster(name)
    listed = whole.api["services"]
    services = json.loads(listed.content)
    again = json.loads(json.dumps(services["items"][at]))
    for port in again["spec"].get("ports") or ():
        port["port"] += 1
    services["items"].append(again)
    api = {**whole.api, "services": listed.replaced(content=json.dumps(services).encode())}
    snapshot = replace(whole, api=api)
    assert diagnose(snapshot, Scope(nodes=(NODE,))) == one_by_one(snapshot, NODE)


@pytest.mark.parametrize("comment", ['9100"', '"9100', '91"00', "9100", '"91\\"00"', '"9100"x'])
@pytest.mark.parametrize("chain", ["KUBE-SEP-", "KUBE-SVC-", "KUBE-SERVICES -d"])
def test_a_comment_with_quotes(chain: str, comment: str, cutting: list[SortedOffers]) -> None:
    """A line whose quotes do not go together is not read, however usual the rest of it."""
    snapshot = cluster("v1.30.3-iptables-nft")
    probes = dict(snapshot.nodes[NODE])
    recording = probes["iptables-save"]
    text = recording.content.decode()
    *_, found = re.finditer(f'-A {chain}.*--comment ("default/(?:seven|three)-eps[^"]*")', text)
    text = text[: found.start(1)] + comment + text[found.end(1) :]
    probes["iptables-save"] = recording.replaced(content=text.encode())
    broken = replace(snapshot, nodes={NODE: probes})
    assert diagnose(broken, Scope(nodes=(NODE,))) == one_by_one(broken, NODE)


def traced(snapshot: Snapshot, name: str, *, cut: bool) -> object:
    target = TraceTarget(text=f"svc/{name}", place=ServiceTarget(service=ObjectKey(namespace="default", name=name)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rulesets, "LARGE_BYTES", 0 if cut else 1 << 60)
        return trace(snapshot, target, Scope())


TRACED = (
    "seven-eps",
    "no-eps",
    "no-eps-np",
    "lb-ranges",
    "lb-local",
    "sticky",
    "external-ips",
    "kubernetes",
    "udp-svc",
)


@pytest.mark.parametrize("service", TRACED)
@pytest.mark.parametrize("name", CLUSTERS[:3])
def test_a_trace(name: str, service: str) -> None:
    snapshot = cluster(name)
    assert traced(snapshot, service, cut=True) == traced(snapshot, service, cut=False)


@pytest.mark.parametrize("seed", range(12))
def test_a_trace_through_an_edited_dump(seed: int) -> None:
    name, service = CLUSTERS[seed % 3], TRACED[seed % len(TRACED)]
    snapshot = edited(cluster(name), seed)
    assert traced(snapshot, service, cut=True) == traced(snapshot, service, cut=False)


def test_a_trace_through_endpoints_out_of_order() -> None:
    snapshot = cluster("v1.36.2-iptables-nft")
    probes = dict(snapshot.nodes[NODE])
    content = probes["iptables-save"].content
    found = [match[0] for match in re.finditer(rb"-A (KUBE-SEP-\w+) .*\n(?:-A \1 .*\n)*", content)]
    assert len(found) > 20
    start = content.index(found[0])
    turned = content[:start] + b"".join(reversed(found)) + content[start + sum(map(len, found)) :]
    probes["iptables-save"] = probes["iptables-save"].replaced(content=turned)
    other = replace(snapshot, nodes={NODE: probes})
    assert traced(other, "seven-eps", cut=True) == traced(other, "seven-eps", cut=False)


NFT = '{"nftables": [{"rule": {"expr": [{"match": {"right": {"prefix": {"addr": "10.99.0.0", "len": 16}}}}]}}]}'


def test_prefixes_of_nft_json_are_spelled_as_in_its_text() -> None:
    assert prefixes_spelled(NFT.encode()).endswith(b"\n10.99.0.0/16")


def test_a_table_of_others_that_takes_a_part_of_the_services(cutting: list[SortedOffers]) -> None:
    """A foreign nft rule that drops what goes to half of the ClusterIPs: each of these is told, and no other."""
    snapshot = cluster("v1.36.2-iptables-nft")
    probes = dict(snapshot.nodes[NODE])
    table = {"family": "inet", "name": "mine"}
    chain = {**table, "name": "in", "table": "mine", "type": "filter", "hook": "prerouting", "prio": -300}
    match = {
        "op": "==",
        "left": {"payload": {"protocol": "ip", "field": "daddr"}},
        "right": {"prefix": {"addr": "10.96.100.0", "len": 27}},
    }
    rule = {"family": "inet", "table": "mine", "chain": "in", "handle": 9, "expr": [{"match": match}, {"drop": None}]}
    items = [{"table": table}, {"chain": {**chain, "handle": 1, "policy": "accept"}}, {"rule": rule}]
    listed = json.dumps({"nftables": [{"metainfo": {"json_schema_version": 1}}, *items]})
    probes.pop("nft-list-ruleset", None)
    source = "nodes/node01/nft-j-list-ruleset.json"
    probes["nft-j-list-ruleset"] = Recording(source=source, content=listed.encode())
    edited_snapshot = replace(snapshot, nodes={NODE: probes})
    found = diagnose(edited_snapshot, Scope(nodes=(NODE,)))
    assert found == one_by_one(edited_snapshot, NODE)
    (finding,) = [item for item in found.findings if item.code.startswith("KD2")]
    assert finding.evidence[0].source == source
    assert len(finding.affected) > 10
