"""On a node that is like another nothing is walked that is right there: the report is the one that walking it gives."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from kdiag.model.addresses import AddressSet, Family
from kdiag.model.dataplane import Case, ClientSet, Frontend, ServicePortKey
from kdiag.model.snapshot import Recording, Snapshot
from kdiag.pipeline.flow import Scope, diagnose
from kdiag.pipeline.likeness import AlikeNodes
from kdiag.pipeline.offers import Kind, SortedOffers, Walked
from kdiag.planes.programs import behaviours_of
from kdiag.walk.network import NodeNetwork
from kdiag.walk.walker import Walker
from tests.corpus_fixtures import cluster
from tests.pipeline.uncut import CLUSTERS, NODE, one_by_one

OTHER = "node02"
Probes = dict[str, Recording]


def changed(snapshot: Snapshot, edit: Callable[[Probes], None], *names: str) -> Snapshot:
    """These nodes read otherwise."""
    nodes: dict[str, Probes] = {name: dict(probes) for name, probes in snapshot.nodes.items()}
    for name in names:
        edit(nodes[name])
    return replace(snapshot, nodes=nodes)


def two_nodes(name: str = CLUSTERS[1]) -> Snapshot:
    """Two nodes that are alike."""
    snapshot = cluster(name)
    return replace(snapshot, nodes={node: snapshot.nodes[node] for node in (NODE, OTHER)})


def rule(table: str, line: str) -> Callable[[Probes], None]:
    """An edit that puts a rule before those of its chain (`-I`) or behind them, where iptables prints it."""
    kind, chain, rest = line.split(" ", 2)

    def edit(probes: Probes) -> None:
        found = probes["iptables-save"]
        lines = found.content.decode().split("\n")
        start = lines.index(f"*{table}")
        stop = lines.index("COMMIT", start)
        chains = [item.split(" ")[1] if item.startswith("-A ") else "" for item in lines[:stop]]
        mine = [number for number in range(start, stop) if chains[number] == chain]
        later = [number for number in range(start, stop) if chains[number] > chain]
        if mine:
            place = mine[0] if kind == "-I" else mine[-1] + 1
        else:
            place = later[0] if later else stop
        lines.insert(place, f"-A {chain} {rest}")
        probes["iptables-save"] = found.replaced(content="\n".join(lines).encode())

    return edit


def text(probe: str, old: str, new: str) -> Callable[[Probes], None]:
    """An edit of what some command printed."""

    def edit(probes: Probes) -> None:
        content = re.sub(old.encode(), new.encode(), probes[probe].content)
        probes[probe] = probes[probe].replaced(content=content)

    return edit


def network(probe: str, change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Probes], None]:
    """An edit of what `ip` prints."""

    def edit(probes: Probes) -> None:
        found = json.loads(probes[probe].content)
        change(found)
        probes[probe] = probes[probe].replaced(content=json.dumps(found).encode())

    return edit


@pytest.fixture
def walked(cutting: list[SortedOffers], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every dump counts as large; how many frontends of each node and family were walked in turn."""
    seen: list[int] = []

    def counted(walker: Walker, network: NodeNetwork, targets: Mapping[Frontend, ServicePortKey | None]) -> Any:
        seen.append(len(targets))
        return behaviours_of(walker, network, targets)

    monkeypatch.setattr("kdiag.planes.iptables.behaviours_of", counted)
    return seen


@pytest.mark.parametrize("name", CLUSTERS[:3])
def test_what_one_node_has_right_is_not_walked_on_the_next(name: str, walked: list[int]) -> None:
    snapshot = two_nodes(name)
    report = diagnose(snapshot, Scope())
    first, second = walked
    assert first > 50
    # What is of a kind of its own there, having other endpoints near.
    assert second < first / 2
    assert report == one_by_one(snapshot)


APART: dict[str, Callable[[Probes], None]] = {
    "a rule": rule("filter", "-A FORWARD -d 10.244.9.9/32 -j ACCEPT"),
    "a policy": text("iptables-save", r":FORWARD ACCEPT", ":FORWARD DROP"),
    "a table": text("iptables-save", r"\A", "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT DROP [0:0]\nCOMMIT\n"),
    "an interface": network("ip-route", lambda routes: routes[1].update(dev="tun0")),
    "no routes": network("ip-route", lambda routes: routes.clear()),
    "another address": network(
        "ip-addr", lambda links: links[1]["addr_info"].append({"family": "inet", "local": "10.9.9.9", "prefixlen": 24})
    ),
    "a bridge": network("ip-addr", lambda links: links.append({"ifname": "br-1", "flags": ["UP"], "addr_info": []})),
    "NodePorts on localhost": text("sysctl-route_localnet", "= 1", "= 0"),
}


@pytest.mark.parametrize("difference", APART)
def test_a_node_that_differs_is_walked(difference: str, walked: list[int]) -> None:
    snapshot = changed(two_nodes(), APART[difference], OTHER)
    assert snapshot.nodes[OTHER] != two_nodes().nodes[OTHER]
    report = diagnose(snapshot, Scope())
    first, second, *_ = walked
    assert second > 0.8 * first
    assert report == one_by_one(snapshot)


def test_a_rule_that_sends_packets_to_an_address_of_the_node(walked: list[int]) -> None:
    """Which one that is the rule does not say."""
    edit = rule("nat", "-I PREROUTING -d 10.244.9.9/32 -p tcp -j REDIRECT --to-ports 99")
    snapshot = changed(two_nodes(), edit, NODE, OTHER)
    report = diagnose(snapshot, Scope())
    first, second, *_ = walked
    assert second > 0.8 * first
    assert report == one_by_one(snapshot)


@pytest.mark.parametrize("order", [(NODE, OTHER), (OTHER, NODE)])
def test_a_rule_on_all_nodes_that_harms_one(order: tuple[str, str], walked: list[int]) -> None:
    """It names the pods of one of them: that is what tells these nodes apart."""
    _, mine = order
    (pods,) = re.findall(rb'"dst":"(10\.244\.\d+\.0/24)","dev":"cni0"', two_nodes().nodes[mine]["ip-route"].content)
    edit = rule("filter", f"-I FORWARD -s {pods.decode()} -i cni0 -j DROP")
    snapshot = changed(two_nodes(), edit, NODE, OTHER)
    report = diagnose(snapshot, Scope())
    assert {place.node for finding in report.findings for place in finding.places} - {None} == {mine}
    assert report == one_by_one(snapshot)


def test_a_rule_that_harms_clients_whom_one_node_has(walked: list[int]) -> None:
    """On the first node the interface is down by which they come in."""
    snapshot = changed(two_nodes(), rule("filter", "-I FORWARD -i eth0 -j DROP"), NODE, OTHER)
    is_down = network("ip-addr", lambda links: [link.update(flags=[]) for link in links if link["ifname"] == "eth0"])
    snapshot = changed(snapshot, is_down, NODE)
    report = diagnose(snapshot, Scope())
    assert {place.node for finding in report.findings for place in finding.places} - {None} == {OTHER}
    assert report == one_by_one(snapshot)


def test_a_kind_that_is_wrong_is_walked_everywhere(walked: list[int]) -> None:
    edit = rule("filter", "-I FORWARD -m conntrack --ctorigdst 10.96.0.10 -j DROP")
    snapshot = changed(two_nodes(), edit, NODE, OTHER)
    report = diagnose(snapshot, Scope())
    assert {place.node for finding in report.findings for place in finding.places} - {None} == {NODE, OTHER}
    assert report == one_by_one(snapshot)


ADDRESSES = (
    "10.244.1.0/24",
    "10.244.2.0/24",
    "10.244.0.0/16",
    "10.96.0.0/12",
    "192.168.56.12",
    "10.244.1.9",
    "0.0.0.0/1",
)
INTERFACES = ("eth0", "cni0", "lo", "docker0", "tun0", "kube-ipvs0")
INTO = {
    "nat": ("PREROUTING", "OUTPUT", "POSTROUTING", "KUBE-SERVICES", "KUBE-NODEPORTS"),
    "filter": ("FORWARD", "INPUT", "OUTPUT", "KUBE-FORWARD"),
}


def some_rule(chance: random.Random) -> Callable[[Probes], None]:
    """One rule of somebody else's."""
    table = chance.choice(["nat", "filter"])
    chain = chance.choice(INTO[table])
    words = [f"-{chance.choice('IA')} {chain}"]
    for letter in "sd":
        if chance.random() < 0.5:
            words.append(f"{chance.choice(['', '! '])}-{letter} {chance.choice(ADDRESSES)}")
    if chance.random() < 0.3 and chain != "OUTPUT":
        letter = "o" if chain in ("POSTROUTING", "FORWARD") else "i"
        words.append(f"{chance.choice(['', '! '])}-{letter} {chance.choice(INTERFACES)}")
    if chance.random() < 0.3:
        words.append(f"-m addrtype {chance.choice(['', '! '])}--{chance.choice(['src', 'dst'])}-type LOCAL")
    verdicts = ["ACCEPT", "RETURN", "MARK --set-xmark 0x4000/0x4000"]
    verdicts += ["DROP", "REJECT --reject-with icmp-port-unreachable"] if table == "filter" else []
    verdicts += ["MASQUERADE"] if chain == "POSTROUTING" else []
    verdicts += ["DNAT --to-destination 10.244.2.2:80"] if chain in ("PREROUTING", "OUTPUT", "KUBE-SERVICES") else []
    return rule(table, f"{' '.join(words)} -j {chance.choice(verdicts)}")


def some_network(chance: random.Random) -> Callable[[Probes], None]:
    """Another route or address."""
    if chance.random() < 0.5:
        place = {"dst": chance.choice(ADDRESSES), "dev": chance.choice(INTERFACES), "flags": []}
        return network("ip-route", lambda routes: routes.insert(0, place))
    address = chance.choice(["10.244.1.9", "10.96.0.10", "10.9.9.9", "192.168.56.77"])
    held = {"family": "inet", "local": address, "prefixlen": 32, "scope": "global"}
    return network("ip-addr", lambda links: chance.choice(links)["addr_info"].append(held))


@pytest.mark.parametrize("seed", range(36))
def test_rules_and_networks_of_all_sorts(seed: int, cutting: list[SortedOffers]) -> None:
    """The same rules on nodes that have not the same network."""
    chance = random.Random(seed)
    snapshot = cluster(CLUSTERS[seed % 3])
    for _ in range(chance.choice([1, 1, 2])):
        snapshot = changed(snapshot, some_rule(chance), *snapshot.nodes)
    if chance.random() < 0.5:
        snapshot = changed(snapshot, some_network(chance), chance.choice(sorted(snapshot.nodes)))
    assert diagnose(snapshot, Scope()) == one_by_one(snapshot)
    assert cutting


def test_of_very_many_sorts_of_nodes_the_latest_are_remembered() -> None:
    known, kind = AlikeNodes(), Kind(())
    seen = Walked(1, Case(clients=ClientSet(addresses=AddressSet.nothing(Family.IPV4)), outcomes=()), decided=False)
    for number in range(100):
        kinds = known.walked_on(number)  # type: ignore[arg-type]
        assert not kinds
        kinds[kind] = seen
    assert [bool(known.walked_on(number)) for number in (99, 40)] == [True, True]  # type: ignore[arg-type]
    assert not known.walked_on(20)  # type: ignore[arg-type]
