"""What is remembered of base chains behind nat is what walking them again gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdiag.model.addresses import Protocol
from kdiag.model.dataplane import Frontend, Position
from kdiag.model.rules import IpSet
from kdiag.walk import walker as module
from kdiag.walk.iptables_rules import IptablesSpace
from kdiag.walk.meaning import Surroundings
from kdiag.walk.passages import Passages
from kdiag.walk.program import Program
from kdiag.walk.walker import Leaf, Walker
from tests.walk.setting import NETWORKS, clients_at, frontend, ruleset

NETWORK = NETWORKS[frontend("10.96.0.10", 80, Position.POD).family]
# Two Services, whose endpoints are on the node and elsewhere, and the node itself.
SERVICES = """\
nat -A PREROUTING -j SERVICES
nat -A OUTPUT -j SERVICES
nat -A SERVICES -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j ONE
nat -A SERVICES -d 10.96.0.11/32 -p tcp -m tcp --dport 80 -j TWO
nat -A SERVICES -d 10.96.0.12/32 -p udp -m udp --dport 53 -j ONE
nat -A ONE -m statistic --mode random --probability 0.25 -j A
nat -A ONE -m statistic --mode random --probability 0.33333333349 -j B
nat -A ONE -m statistic --mode random --probability 0.5 -j C
nat -A ONE -j D
nat -A TWO -m statistic --mode random --probability 0.25 -j B
nat -A TWO -m statistic --mode random --probability 0.33333333349 -j F
nat -A TWO -m statistic --mode random --probability 0.5 -j G
nat -A TWO -j E
nat -A A -s 10.244.1.5/32 -j MARK --set-xmark 0x4000/0x4000
nat -A A -p tcp -j DNAT --to-destination 10.244.1.5:80
nat -A A -p udp -j DNAT --to-destination 10.244.1.5:53
nat -A B -s 10.244.1.6/32 -j MARK --set-xmark 0x4000/0x4000
nat -A B -p tcp -j DNAT --to-destination 10.244.1.6:8080
nat -A C -s 10.244.2.7/32 -j MARK --set-xmark 0x4000/0x4000
nat -A C -p tcp -j DNAT --to-destination 10.244.2.7:80
nat -A D -p tcp -j DNAT --to-destination 192.168.56.11:6443
nat -A F -p tcp -j DNAT --to-destination 10.244.1.20:8080
nat -A G -p tcp -j DNAT --to-destination 10.244.1.21:80
nat -A E -s 10.244.1.9/32 -j MARK --set-xmark 0x4000/0x4000
nat -A E -p tcp -j DNAT --to-destination 10.244.1.9:80
"""
FRONTENDS = [
    *(frontend(where, 80, position) for where in ("10.96.0.10", "10.96.0.11", "10.244.1.9") for position in Position),
    *(frontend("10.96.0.12", 53, position, Protocol.UDP) for position in Position),
]
MATCHES = [
    "", "", "-s 10.244.1.5/32", "-s 10.244.1.0/29", "! -s 10.244.0.0/16", "-d 10.244.1.6/32", "! -d 10.244.1.0/24",
    "-d 192.168.56.11/32", "-i cni0", "-o cni0", "! -o eth0", "-o lo", "-p tcp", "-p tcp -m tcp --dport 80",
    "-p tcp -m tcp --dport 0x1f90", "-p tcp -m tcp --dport http", "-p tcp -m multiport --dports 53,6443:8080",
    "-m connmark --mark 0x4000/0x4000", "-m mark --mark 0x4000/0x4000", "-m mark ! --mark 0x4000/0x4000", "-m conntrack --ctstate DNAT",
    "-m conntrack --ctstate NEW", "-m conntrack --ctorigdst 10.96.0.10/32", "-m conntrack --ctorigdstport 80",
    "-m addrtype --dst-type LOCAL", "-m addrtype ! --src-type LOCAL", "-m iprange --dst-range 10.244.1.6-10.244.1.9",
    "-m statistic --mode random --probability 0.25", "-m limit --limit 3/s", "-m set --match-set pods src",
    "-m set --match-set sockets dst,dst", "-m set --match-set gone dst", "-m physdev --physdev-is-in",
]  # fmt: skip
SETS = {
    "pods": IpSet(name="pods", type="hash:net", members=frozenset(("10.244.1.4/31", "10.244.2.0/24 nomatch"))),
    "sockets": IpSet(
        name="sockets", type="hash:ip,port", members=frozenset(("10.244.1.6,tcp:8080", "10.244.1.9,tcp:80"))
    ),
}
CHAINS = {
    "mangle -A FORWARD": ["ACCEPT", "DROP", "MARK --set-xmark 0x8/0x8", "RETURN", "WHAT"],
    "filter -A FORWARD": ["ACCEPT", "DROP", "REJECT", "RETURN", "INNER", "LOG"],
    "filter -A OUTPUT": ["ACCEPT", "DROP", "REJECT", "INNER"],
    "filter -A INPUT": ["ACCEPT", "DROP", "INNER"],
    "filter -A INNER": ["ACCEPT", "DROP", "RETURN", "CONNMARK --save-mark"],
    "mangle -A POSTROUTING": ["MARK --set-xmark 0x4000/0x4000", "MARK --xor-mark 0x4000", "ACCEPT"],
    "nat -A POSTROUTING": ["MASQUERADE", "SNAT --to-source 10.9.9.9", "RETURN", "ACCEPT"],
}
RULES = st.lists(
    st.sampled_from(sorted(CHAINS)).flatmap(
        lambda where: st.tuples(st.just(where), st.sampled_from(MATCHES), st.sampled_from(CHAINS[where])).map(
            lambda parts: f"{parts[0]} {parts[1]} -j {parts[2]}".replace("  ", " ")
        )
    ),
    max_size=10,
)
POLICIES = st.sampled_from(["", "filter :FORWARD DROP\n", "filter :OUTPUT DROP\n"])


USUAL = """\
filter -A FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
filter -A FORWARD -m conntrack --ctstate NEW -j ACCEPT
nat -A POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
nat -A POSTROUTING -j MASQUERADE
"""


def ends(walker: Walker, goal: Frontend) -> list[tuple[object, ...]]:
    found: list[Leaf] = walker.walk(goal, clients_at(NETWORK, goal.position, str(goal.address), None))
    return [
        (
            leaf.clients,
            leaf.weight,
            leaf.assumptions,
            leaf.fate,
            [
                (step.met.line, step.hook, step.kind, step.weight, step.depth, step.unclear)
                for step in (leaf.passed.steps() if leaf.passed else ())
            ],
        )
        for leaf in found
    ]


def program_of(rules: str) -> Program:
    return Program(
        (IptablesSpace(ruleset(f"{SERVICES}filter :INNER -\n{rules}")),), Surroundings(network=NETWORK, ipsets=SETS)
    )


@given(RULES, POLICIES)
def test_one_walker_finds_for_many_addresses_what_a_new_one_finds_for_each(rules: list[str], policy: str) -> None:
    program = program_of(policy + "\n".join(rules))
    walker = Walker(program)
    for goal in FRONTENDS:
        assert ends(walker, goal) == ends(Walker(program), goal)


@pytest.mark.parametrize("match", MATCHES[1:])
def test_each_match_is_asked_again_where_it_may_answer_otherwise(match: str) -> None:
    for where, target in (
        ("filter -A FORWARD", "DROP"),
        ("filter -A OUTPUT", "DROP"),
        ("filter -A INPUT", "DROP"),
        ("mangle -A POSTROUTING", "DROP"),
        ("nat -A POSTROUTING", "MASQUERADE"),
    ):
        program = program_of(f"filter -A FORWARD -j CONNMARK --save-mark\n{where} {match} -j {target}")
        walker = Walker(program)
        for goal in FRONTENDS:
            assert ends(walker, goal) == ends(Walker(program), goal)


@pytest.mark.parametrize("target", ["DROP", "MARK --set-xmark 0x4000/0x4000"])
def test_two_rule_sets_may_have_chains_of_one_name(target: str) -> None:
    other = ruleset(f"mangle -A POSTROUTING -d 10.244.1.0/24 -j {target}")
    around = Surroundings(network=NETWORK, ipsets=SETS)
    mine = ruleset(f"{SERVICES}mangle -A POSTROUTING -p udp -j ACCEPT\n{USUAL}")
    program = Program((IptablesSpace(mine), IptablesSpace(other)), around)
    walker = Walker(program)
    for goal in FRONTENDS:
        assert ends(walker, goal) == ends(Walker(program), goal)


@pytest.fixture
def repeated(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The passages that were looked up and known."""
    found: list[object] = []
    look_up = Passages.known

    def known(self: Passages, key: object) -> object:
        passage = look_up(self, key)
        if passage is not None:
            found.append(passage)
        return passage

    monkeypatch.setattr(Passages, "known", known)
    return found


def test_most_passages_of_usual_rules_are_known(repeated: list[object]) -> None:
    walker = Walker(program_of(USUAL))
    for goal in FRONTENDS:
        ends(walker, goal)
    assert len(repeated) > 20


@pytest.mark.parametrize(
    "rule", ["nat -A POSTROUTING -j DNAT --to-destination 10.9.9.9", "nat -A INPUT -p tcp -j REDIRECT --to-ports 81"]
)
def test_nothing_is_known_of_chains_that_may_translate(rule: str, repeated: list[object]) -> None:
    walker = Walker(program_of(USUAL + rule))
    for goal in FRONTENDS:
        ends(walker, goal)
    assert repeated == []


def test_a_single_walk_remembers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would have to look at all rules first."""
    monkeypatch.setattr(module, "passages_of", lambda *_: pytest.fail("asked for"))
    ends(Walker(program_of(USUAL)), FRONTENDS[0])
