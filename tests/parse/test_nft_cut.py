"""nftables dumps cut up: nothing is lost, and what is not of the usual form is the rest."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest

from kdiag.model.addresses import AddressSet, Family
from kdiag.model.nft import Value
from kdiag.parse.nft_cut import CutTable, NftCut, cut_nft
from kdiag.parse.nft_json import parse_nft_json, parse_objects
from tests.corpus_fixtures import HEALTHY_NFTABLES, cluster
from tests.older_nftables import nft_json_1_31

Objects = list[dict[str, Any]]
SERVICE = "service-PIZV3J44-default/three-eps/tcp/"
STICKY = "V5SD72BG-default/sticky/tcp/__10.244.1.10/80"


def dump(name: str = HEALTHY_NFTABLES[0], *, older: bool = False) -> bytes:
    return nft_json_1_31(name) if older else cluster(name).nodes["node01"]["nft-j-list-ruleset"].content


DUMPS = [(name, older) for name in HEALTHY_NFTABLES for older in (False, True)]


def cut(content: bytes) -> NftCut:
    found = cut_nft(content)
    assert found is not None
    return found


def table(content: bytes) -> CutTable:
    return cut(content).tables[Family.IPV4]


def edited(change: Callable[[Objects], object], *, older: bool = False) -> bytes:
    objects = json.loads(dump(older=older))["nftables"]
    change(objects)
    return json.dumps({"nftables": objects}).encode()


def rules_of(objects: Objects, chain: str) -> Objects:
    return [item["rule"] for item in objects if item.get("rule", {}).get("chain") == chain]


def held(objects: Objects, kind: str, name: str) -> dict[str, Any]:
    return next(item[kind] for item in objects if item.get(kind, {}).get("name") == name)


@pytest.mark.parametrize(("name", "older"), DUMPS)
def test_an_excerpt_of_everything_is_the_dump(name: str, older: bool) -> None:
    content = dump(name, older=older)
    found = cut(content)
    everything: dict[Family, Any] = {
        family: ([*item.chains, *item.endpoint_objects], list(item.dispatch), [])
        for family, item in found.tables.items()
    }
    for chosen in ({}, everything):
        assert parse_objects(found.excerpt(chosen), found.line, "x") == parse_nft_json(content, "x")


@pytest.mark.parametrize(("name", "older"), DUMPS)
def test_every_chain_of_a_healthy_cluster_has_a_form(name: str, older: bool) -> None:
    """But those of source ranges, which are judged one by one anyway."""
    for item in cut(dump(name, older=older)).tables.values():
        names = {chain.decode() for chain in item.chains} | {
            f"endpoint-{chain.decode()}" for chain in item.endpoint_objects
        }
        whole = parse_nft_json(dump(name, older=older), "x").table(
            "ip" if item.family is Family.IPV4 else "ip6", "kube-proxy"
        )
        assert whole is not None
        filled = {chain.name for chain in whole.chains.values() if chain.rules}
        assert {chain for chain in filled - names if "/" in chain and not chain.startswith("firewall-")} == set()
        assert all(key is not None for opened in item.sets for key, _ in opened.elements)


@pytest.mark.parametrize(("name", "older"), DUMPS)
def test_a_part_is_read_like_the_whole(name: str, older: bool) -> None:
    content = dump(name, older=older)
    found = cut(content)
    whole = parse_nft_json(content, "x").table("ip", "kube-proxy")
    item = found.tables[Family.IPV4]
    some = random.Random(1).sample([*item.chains], 9)
    keys = [key for key in item.dispatch if key[0]]
    chosen = keys[::9]
    reached = item.reached(chosen) | set(some)
    part = parse_objects(
        found.excerpt({Family.IPV4: (reached, chosen, [key for key in keys if key not in chosen])}), found.line, "x"
    ).table("ip", "kube-proxy")
    assert whole is not None
    assert part is not None
    assert {chain.decode() for chain in some} <= part.chains.keys() < whole.chains.keys()
    assert all(part.chains[chain] == whole.chains[chain] for chain in part.chains)
    served, all_served = part.sets["service-ips"].elements, whole.sets["service-ips"].elements
    assert 0 < len(served) < len(all_served)
    assert set(served) < set(all_served)
    assert part.sets["service-nodeports"] == whole.sets["service-nodeports"]
    assert 0 < len(part.sets["cluster-ips"].elements) < len(whole.sets["cluster-ips"].elements)


def test_a_sample_shows_that_there_are_tables_and_for_nobody() -> None:
    found = cut(dump())
    shown = parse_objects(found.sample(), found.line, "x").table("ip", "kube-proxy")
    assert shown is not None
    assert "nat-prerouting" in shown.chains
    assert not shown.sets["service-ips"].elements
    assert len([name for name in shown.chains if "/" in name]) < 10


def test_the_line_is_counted_from_what_stands_before() -> None:
    assert cut(b"\n\n" + dump()).line == 3


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"nftables": 1}',
        dump()[:-9],
        json.dumps(json.loads(dump()), indent=1).encode(),
        dump().replace(b"three-eps", "drei-äps".encode()),
        b'{"nftables": [{"rule": {"family": "ip", "table": "kube-proxy", "chain": 1, "expr": []}}]}',
    ],
)
def test_what_nft_does_not_print_so_is_not_cut(content: bytes) -> None:
    assert cut_nft(content) is None


def _other_form(objects: Objects, number: int) -> None:
    (rule,) = rules_of(objects, SERVICE)
    elements = rule["expr"][1]["dnat"]["addr"]["map"]["data"]["set"]
    match number:
        case 0:
            elements.reverse()
        case 1:
            rule["expr"][1]["dnat"]["addr"]["map"]["key"]["numgen"]["mod"] = 4
        case 2:
            rule["expr"][1]["dnat"]["addr"]["map"]["key"]["numgen"]["mode"] = "inc"
        case 3:
            elements[1][1] = "10.244.1.11"
        case 4:
            rule["expr"].pop(0)
        case 5:
            rule["expr"][1] = {"dnat": {"addr": "10.244.1.10", "port": 80}}
        case 6:
            objects.append({"rule": {**rule, "handle": 999}})
        case 7:
            rule["expr"].insert(0, {"set": {"op": "update", "elem": "1.2.3.4", "set": f"@affinity-{STICKY}"}})
        case _:
            objects.append({"chain": {**held(objects, "chain", SERVICE), "handle": 999}})


@pytest.mark.parametrize("number", range(9))
def test_a_chain_of_another_form_is_the_rest(number: int) -> None:
    content = edited(lambda objects: _other_form(objects, number))
    found = table(content)
    assert SERVICE.encode() in table(dump()).chains
    assert SERVICE.encode() not in found.chains
    assert SERVICE.encode() in b"".join(found.rest)
    left = parse_objects(cut(content).excerpt({Family.IPV4: ((), (), found.dispatch.keys())}), 1, "x")
    whole = parse_nft_json(content, "x")
    for ruleset in (left, whole):
        assert ruleset.tables[0].chains[SERVICE] == whole.tables[0].chains[SERVICE]


def _other_client_list(objects: Objects, number: int) -> None:
    name = f"endpoint-{STICKY}"
    rules = rules_of(objects, name)
    clients = held(objects, "set", f"affinity-{STICKY}")
    match number:
        case 0:
            clients["type"] = ["ipv4_addr", "inet_service"]
        case 1:
            objects.append({"set": {**clients, "handle": 999}})
        case 2:
            objects.remove({"rule": rules[0]})
            clients["elem"] = ["10.244.1.1"]
        case 3:
            rules[0]["expr"][0]["set"]["set"] = "@affinity-BLIARAMP-default/sticky/tcp/__10.244.1.11/80"
        case 4:
            rules[-1]["expr"].append({"counter": None})
        case _:
            held(objects, "chain", name)["hook"] = "prerouting"


@pytest.mark.parametrize("number", range(6))
def test_an_endpoint_of_another_form_is_the_rest(number: int) -> None:
    found = table(edited(lambda objects: _other_client_list(objects, number)))
    assert STICKY.encode() in table(dump()).endpoint_objects
    assert STICKY.encode() not in found.endpoint_objects
    assert {STICKY.encode()} <= found.reached(())


def _form(change: Callable[[Objects], object]) -> bytes:
    places = table(edited(change)).endpoints.found
    return next(form for (form, _), names in places.items() if STICKY.encode() in names)


def test_the_set_of_an_endpoints_clients_is_part_of_its_form() -> None:
    usual = _form(lambda objects: None)
    assert usual != _form(lambda objects: held(objects, "set", f"affinity-{STICKY}").update(timeout=17))
    assert usual != _form(lambda objects: objects.remove({"set": held(objects, "set", f"affinity-{STICKY}")}))
    assert usual == _form(
        lambda objects: held(objects, "set", f"affinity-{STICKY}").update(elem=["10.0.0.1"], handle=5)
    )


def _odd_element(objects: Objects, number: int) -> None:
    elements = held(objects, "map", "service-ips")["elem"]
    match number:
        case 0:
            elements[0][0]["concat"][0] = {"prefix": {"addr": "10.96.100.0", "len": 30}}
        case 1:
            elements[0][0]["concat"][2] = {"range": [79, 81]}
        case 2:
            elements[0][0] = "*"
        case _:
            elements[0][1] = {"queue": None}


@pytest.mark.parametrize("number", range(4))
def test_an_element_of_another_form_is_always_there(number: int) -> None:
    content = edited(lambda objects: _odd_element(objects, number))
    found = table(content)
    assert len(found.dispatch) in (len(table(dump()).dispatch), len(table(dump()).dispatch) - 1)
    left = parse_objects(cut(content).excerpt({Family.IPV4: ((), (), found.dispatch.keys())}), 1, "x")
    assert (
        left.tables[0].sets["service-ips"].elements
        == parse_nft_json(content, "x").tables[0].sets["service-ips"].elements[:1]
    )


def _other_set(objects: Objects, number: int) -> None:
    served = held(objects, "map", "service-ips")
    match number:
        case 0:
            objects.append({"map": {**served, "handle": 999}})
        case 1:
            served["type"] = {"typeof": {"payload": {"protocol": "ip", "field": "daddr"}}}
        case _:
            served["elem"] = "?"


@pytest.mark.parametrize("number", range(3))
def test_a_map_of_another_shape_is_not_taken_apart(number: int) -> None:
    assert "service-ips" not in [item.name for item in table(edited(lambda objects: _other_set(objects, number))).sets]


@pytest.mark.parametrize(
    "expression",
    [
        {"match": {"op": "==", "left": {"&": [{"payload": {"protocol": "th", "field": "dport"}}, 1]}, "right": 1}},
        {"mangle": {"key": {"meta": {"key": "mark"}}, "value": {"payload": {"protocol": "ip", "field": "daddr"}}}},
        {"redirect": None},
        {"dnat": {"port": 80}},
        {"set": {"op": "update", "elem": "1.2.3.4", "set": "@cluster-ips"}},
        "update @service-ips { ip daddr . meta l4proto . th dport : drop }",
    ],
)
@pytest.mark.parametrize("family", ["ip", "inet"])
def test_a_rule_that_hides_what_it_tells_apart_stops_all(expression: object, family: str) -> None:
    place = {"family": family, "table": "kube-proxy" if family == "ip" else "mine"}
    added = {"rule": {**place, "chain": "in", "handle": 999, "expr": [expression]}}
    content = edited(lambda objects: objects.append(added))
    found = cut_nft(content)
    # Sets are named within a table: an inet table cannot ask those of kube-proxy.
    assert found is None or Family.IPV4 not in found.tables or (family == "inet" and "@" in str(expression))


@pytest.mark.parametrize("key", ["mark", "state"])
def test_bits_of_marks_and_states_hide_nothing(key: str) -> None:
    asked = {"match": {"op": "!=", "left": {"&": [{"ct": {"key": key}}, 1]}, "right": 0}}
    added = {"rule": {"family": "inet", "table": "mine", "chain": "in", "handle": 999, "expr": [asked]}}
    assert cut_nft(edited(lambda objects: objects.append(added))) is not None


def test_the_addresses_of_a_set_are_those_that_it_names() -> None:
    """But what is none, or of the other family; such an element is never left out."""
    odd = ["300.1.1.1", "01.2.3.4", "fd00::1", "1.2.3.4"]
    content = edited(lambda objects: held(objects, "set", "cluster-ips").update(elem=odd))
    found = table(content)
    assert found.addresses == (AddressSet.of(Family.IPV4, [ip_address("1.2.3.4")]),)
    without = [(b"1.2.3.4", b"tcp", b"80")]
    left = parse_objects(cut(content).excerpt({Family.IPV4: ((), (), without)}), 1, "x")
    assert [str(key) for key, _ in left.tables[0].sets["cluster-ips"].elements] == [
        f"Value(value='{text}')" for text in odd[:3]
    ]
    six = cut(dump(HEALTHY_NFTABLES[1])).tables[Family.IPV6]
    whole = parse_nft_json(dump(HEALTHY_NFTABLES[1]), "x").table("ip6", "kube-proxy")
    assert whole is not None
    named = [ip_address(str(key.value)) for key, _ in whole.sets["cluster-ips"].elements if isinstance(key, Value)]
    assert six.addresses == (AddressSet.of(Family.IPV6, named),)
    assert len(named) > 20
