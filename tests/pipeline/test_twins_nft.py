"""Service ports that are alike are judged once, in nftables mode: the report is the one that judging each of them gives."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from kdiag.model.snapshot import Recording, Snapshot
from kdiag.parse.target import parse_trace_target
from kdiag.pipeline.flow import Scope, diagnose, trace
from kdiag.pipeline.offers import SortedOffers
from tests.corpus_fixtures import FAULTS_NFTABLES, HEALTHY_NFTABLES, cluster, fault
from tests.older_nftables import nft_json_1_31
from tests.pipeline.uncut import one_by_one, uncut
from tests.proof.nft_edits import nft_edits

NODE = "node01"
PROBE = "nft-j-list-ruleset"
Objects = list[dict[str, Any]]


def with_rules(snapshot: Snapshot, content: bytes) -> Snapshot:
    """The snapshot with nothing recorded but NODE, and this as what nft printed there."""
    probes = dict(snapshot.nodes[NODE])
    probes[PROBE] = probes[PROBE].replaced(content=content)
    return replace(snapshot, nodes={NODE: probes})


def objects_of(snapshot: Snapshot) -> Objects:
    found: Objects = json.loads(snapshot.nodes[NODE][PROBE].text())["nftables"]
    return found


def dump_of(name: str) -> bytes:
    return cluster(name).nodes[NODE][PROBE].content


def changed(snapshot: Snapshot, change: Callable[[Objects], object]) -> Snapshot:
    objects = objects_of(snapshot)
    change(objects)
    return with_rules(snapshot, json.dumps({"nftables": objects}).encode())


@pytest.mark.parametrize("name", HEALTHY_NFTABLES)
def test_a_healthy_cluster(name: str, cutting: list[SortedOffers]) -> None:
    snapshot = cluster(name)
    assert diagnose(snapshot, Scope()) == one_by_one(snapshot)
    assert len(cutting) == (6 if name.startswith("dual-") else 3)
    for offers in cutting:
        assert len(list(offers.twins())) > len(offers.kinds)


@pytest.mark.parametrize("name", HEALTHY_NFTABLES)
def test_the_rules_of_1_31(name: str, cutting: list[SortedOffers]) -> None:
    """There every endpoint has a chain of its own, and a Service's chain names its address."""
    snapshot = with_rules(cluster(name), nft_json_1_31(name))
    assert diagnose(snapshot, Scope(nodes=(NODE,))) == one_by_one(snapshot, NODE)
    for offers in cutting:
        assert len(list(offers.twins())) >= len(offers.kinds)
        assert offers.cut.endpoints is not None
        assert offers.cut.endpoints.found


@pytest.mark.parametrize("name", FAULTS_NFTABLES)
def test_a_fault(name: str, cutting: list[SortedOffers]) -> None:
    snapshot = fault(name)
    report = diagnose(snapshot, Scope())
    assert report == one_by_one(snapshot)
    assert any(finding.code.startswith("KD2") for finding in report.findings)
    assert cutting


EDITED = [(name, older, seed) for name in HEALTHY_NFTABLES for older in (False, True) for seed in range(6)]


@pytest.mark.parametrize(("name", "older", "seed"), EDITED)
def test_an_edited_object(name: str, older: bool, seed: int, cutting: list[SortedOffers]) -> None:
    snapshot = cluster(name)
    text = nft_json_1_31(name).decode() if older else snapshot.nodes[NODE][PROBE].text()
    edit = random.Random(seed).choice(list(nft_edits(text)))
    edited = with_rules(snapshot, edit.make().encode())
    assert diagnose(edited, Scope(nodes=(NODE,))) == one_by_one(edited, NODE), edit


@pytest.mark.parametrize("word", ["svc/seven-eps", "svc/sticky-np-local", "svc/no-eps", "svc/lb-ranges"])
def test_a_trace(word: str, cutting: list[SortedOffers]) -> None:
    target = parse_trace_target(word)
    snapshot = cluster(HEALTHY_NFTABLES[0])
    found = trace(snapshot, target, Scope())
    with uncut():
        assert found == trace(snapshot, target, Scope())
    assert found.verdicts


def test_an_empty_map_is_told_from_one_of_which_only_the_entry_in_question_is_missing(
    cutting: list[SortedOffers],
) -> None:
    """With one Service asked for, its element is the only one that would be read."""

    def drop(objects: Objects) -> None:
        (held,) = [item["map"] for item in objects if _is(item, "map", "service-ips")]
        held["elem"] = [pair for pair in held["elem"] if "default/seven-eps/" not in json.dumps(pair)]

    snapshot = changed(cluster(HEALTHY_NFTABLES[0]), drop)
    target = parse_trace_target("svc/seven-eps")
    found = trace(snapshot, target, Scope())
    with uncut():
        assert found == trace(snapshot, target, Scope())


def own_chain(kind: str, hook: str, priority: int, *rules: list[dict[str, Any]]) -> Objects:
    """A table of somebody else with one base chain."""
    place = {"family": "ip", "table": "mine"}
    base = {**place, "name": "in", "handle": 1, "type": kind, "hook": hook, "prio": priority, "policy": "accept"}
    made = [{"rule": {**place, "chain": "in", "handle": 2 + at, "expr": rule}} for at, rule in enumerate(rules)]
    return [{"table": {"family": "ip", "name": "mine", "handle": 99}}, {"chain": base}, *made]


def daddr(right: object, operator: str = "==") -> dict[str, Any]:
    return {"match": {"op": operator, "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": right}}


def port(right: object) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"payload": {"protocol": "th", "field": "dport"}}, "right": right}}


def addresses(snapshot: Snapshot, name: str) -> list[str]:
    """The addresses in a map that leads somewhere by address, protocol and port."""
    (held,) = [item["map"] for item in objects_of(snapshot) if _is(item, "map", name)]
    return [json.dumps(pair[0]).split('"concat": ["')[1].split('"')[0] for pair in held["elem"]]


def _dropped(snapshot: Snapshot) -> Objects:
    return own_chain(
        "filter", "prerouting", -300, [daddr({"prefix": {"addr": "10.96.100.0", "len": 27}}), {"drop": None}]
    )


def _compared(snapshot: Snapshot) -> Objects:
    return own_chain("filter", "prerouting", -300, [daddr("10.96.100.20", ">="), port(80), {"drop": None}])


def _sent_to_one_without_endpoints(snapshot: Snapshot) -> Objects:
    """Packets to one Service are given the address of another, whose refusing element must not be missed."""
    refused = addresses(snapshot, "no-endpoint-services")[0]
    served = addresses(snapshot, "service-ips")[5]
    return own_chain(
        "nat", "prerouting", -150, [daddr(served), {"dnat": {"family": "ip", "addr": refused, "port": 80}}]
    )


FOREIGN = [_dropped, _compared, _sent_to_one_without_endpoints]


@pytest.mark.parametrize("foreign", FOREIGN)
def test_a_table_of_others(foreign: Callable[[Snapshot], Objects], cutting: list[SortedOffers]) -> None:
    snapshot = cluster(HEALTHY_NFTABLES[0])
    edited = changed(snapshot, lambda objects: objects.extend(foreign(snapshot)))
    report = diagnose(edited, Scope(nodes=(NODE,)))
    assert report == one_by_one(edited, NODE)
    before = with_rules(snapshot, dump_of(HEALTHY_NFTABLES[0]))
    assert report != diagnose(before, Scope(nodes=(NODE,)))
    assert [offers.family.value for offers in cutting] == ["IPv4"] * 2


BITS = {"&": [{"payload": {"protocol": "ip", "field": "daddr"}}, "0.0.0.1"]}
HIDDEN = [
    own_chain(
        "filter", "prerouting", -300, [{"match": {"op": "==", "left": BITS, "right": "0.0.0.1"}}, {"drop": None}]
    ),
    own_chain("nat", "prerouting", -150, [port(80), {"redirect": {"port": 8080}}]),
]


@pytest.mark.parametrize("foreign", HIDDEN)
def test_a_rule_that_hides_what_it_tells_apart(foreign: Objects, cutting: list[SortedOffers]) -> None:
    """Nothing is cut then."""
    edited = changed(cluster(HEALTHY_NFTABLES[0]), lambda objects: objects.extend(foreign))
    assert diagnose(edited, Scope(nodes=(NODE,))) == one_by_one(edited, NODE)
    assert not cutting


def test_an_iptables_rule_that_changes_the_port_alone(cutting: list[SortedOffers]) -> None:
    """It sends packets to addresses that it does not name: nothing is sorted."""
    snapshot = with_rules(cluster(HEALTHY_NFTABLES[0]), dump_of(HEALTHY_NFTABLES[0]))
    assert diagnose(snapshot, Scope(nodes=(NODE,))) == one_by_one(snapshot, NODE)
    sorted_before = len(cutting)
    rule = "-A PREROUTING -d 10.96.100.7/32 -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 9\n"
    text = f"*nat\n:PREROUTING ACCEPT [0:0]\n{rule}COMMIT\n"
    probes = dict(snapshot.nodes[NODE])
    probes["iptables-legacy-save"] = Recording(source="nodes/node01/iptables-legacy-save.txt", content=text.encode())
    edited = replace(snapshot, nodes={NODE: probes})
    report = diagnose(edited, Scope(nodes=(NODE,)))
    assert report == one_by_one(edited, NODE) != one_by_one(snapshot, NODE)
    assert len(cutting) == sorted_before == 1


def test_a_set_that_is_asked_by_something_else(cutting: list[SortedOffers]) -> None:
    def ask_for_sources(objects: Objects) -> None:
        (rule,) = [
            item["rule"] for item in objects if "masquerade clusterIP" in item.get("rule", {}).get("comment", "")
        ]
        rule["expr"][0]["match"]["left"]["payload"]["field"] = "saddr"

    edited = changed(cluster(HEALTHY_NFTABLES[0]), ask_for_sources)
    report = diagnose(edited, Scope(nodes=(NODE,)))
    assert report == one_by_one(edited, NODE)
    assert any(item.code.startswith("KD2") for item in report.findings)
    assert not cutting


def test_a_port_that_a_service_no_longer_has(cutting: list[SortedOffers]) -> None:
    """Refusing it by name changes nothing, as its other ports are refused anyway: nothing is said of it."""

    def leave(objects: Objects) -> None:
        (refused,) = [item["map"] for item in objects if _is(item, "map", "no-endpoint-services")]
        refused["elem"].append([{"concat": ["10.96.100.8", "tcp", 9999]}, {"goto": {"target": "reject-chain"}}])

    edited = changed(cluster(HEALTHY_NFTABLES[0]), leave)
    report = diagnose(edited, Scope(nodes=(NODE,)))
    assert report == one_by_one(edited, NODE)
    assert "10.96.100.8" in addresses(edited, "service-ips")
    assert cutting


def test_clients_that_came_before(cutting: list[SortedOffers]) -> None:
    """Their addresses in the sets of endpoints make no difference."""

    def remember(objects: Objects) -> None:
        for item in objects:
            if item.get("set", {}).get("name", "").startswith("affinity-"):
                item["set"]["elem"] = [{"elem": {"val": "10.244.1.77", "expires": 99}}]

    snapshot = cluster(HEALTHY_NFTABLES[0])
    edited = changed(snapshot, remember)
    report = diagnose(edited, Scope(nodes=(NODE,)))
    assert (
        report
        == one_by_one(edited, NODE)
        == diagnose(with_rules(snapshot, dump_of(HEALTHY_NFTABLES[0])), Scope(nodes=(NODE,)))
    )
    assert len(list(cutting[0].twins())) > len(cutting[0].kinds)


def _is(item: dict[str, Any], what: str, name: str, family: str = "ip") -> bool:
    body = item.get(what, {})
    return bool(body.get("family") == family and body.get("name") == name)
