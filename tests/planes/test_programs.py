"""What is found for many frontends at once is what a walk of its own finds for each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdiag.model.dataplane import Behaviour, Frontend, Position
from kdiag.model.rules import IpSet
from kdiag.planes.programs import behaviours_of
from kdiag.walk.cases import cases_of
from kdiag.walk.iptables_rules import IptablesSpace
from kdiag.walk.matches import OF_DESTINATIONS, READERS
from kdiag.walk.meaning import Surroundings
from kdiag.walk.program import Program
from kdiag.walk.walker import Walker
from tests.walk.setting import NETWORKS, clients_at, frontend, ruleset

NETWORK = NETWORKS[frontend("10.96.0.10", 80, Position.POD).family]
OWN = ("192.168.56.11", "10.244.1.1", "127.0.0.1")
NODE_PORTS = """\
nat -A PREROUTING -j SERVICES
nat -A OUTPUT -j SERVICES
nat -A SERVICES -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j ONE
nat -A SERVICES -m addrtype --dst-type LOCAL -j NODEPORTS
nat -A NODEPORTS -p tcp -m tcp --dport 30000 -j EXT
nat -A NODEPORTS -p tcp -m tcp --dport 30001 -j HOME
nat -A NODEPORTS -p tcp -m tcp --dport 30002 -j DNAT --to-destination :30000
nat -A NODEPORTS -p tcp -m tcp --dport 30003 -j REDIRECT --to-ports 30000
nat -A EXT -j MARK --set-xmark 0x4000/0x4000
nat -A EXT -j ONE
nat -A ONE -m statistic --mode random --probability 0.5 -j DNAT --to-destination 10.244.1.5:80
nat -A ONE -p tcp -j DNAT --to-destination 10.244.2.7:80
nat -A HOME -p tcp -j DNAT --to-destination 192.168.56.11:30001
filter -A FORWARD -m conntrack --ctstate NEW -j ACCEPT
nat -A POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
nat -A POSTROUTING -j MASQUERADE
"""
FRONTENDS = [
    frontend("10.96.0.10", 80, Position.POD),
    *(frontend(where, 30000 + more, position) for more in range(4) for where in OWN for position in Position),
]
MATCHES = [
    "", "-d 192.168.56.11/32", "-d 10.244.0.0/16", "! -d 127.0.0.0/8", "! -d 192.168.56.0/24", "-s 10.244.1.0/24",
    "-d 192.168.56.0/24 -p tcp -m tcp --dport 30000", "-i cni0", "-m addrtype --dst-type LOCAL", "-m addrtype --dst-type UNICAST",
    "-m addrtype --src-type LOCAL", "-m conntrack --ctorigdst 192.168.56.11/32", "-m conntrack --ctstate DNAT",
    "-m conntrack ! --ctorigdst 10.244.0.0/16", "-m iprange --dst-range 10.244.1.1-10.244.1.9", "-m set --match-set own dst",
    "-m set --match-set sockets dst,dst", "-m set --match-set gone dst", "-m what --ever 192.168.56.11",
    "-m iprange --src-range 10.244.1.1-10.244.1.9", "-m statistic --mode random --probability 0.25",
]  # fmt: skip
SETS = {
    "own": IpSet(name="own", type="hash:ip", members=frozenset(("10.244.1.1",))),
    "sockets": IpSet(name="sockets", type="hash:ip,port", members=frozenset(("192.168.56.11,tcp:30000",))),
}
CHAINS = {
    "raw -A PREROUTING": ["DROP", "NOTRACK"],
    "mangle -A PREROUTING": ["DROP", "MARK --set-xmark 0x4000/0x4000"],
    "nat -A PREROUTING": ["ACCEPT", "DNAT --to-destination 10.244.1.9:80", "DNAT --to-destination :30001", "RETURN"],
    "nat -A OUTPUT": ["ACCEPT", "DNAT --to-destination 10.244.1.1:30000", "REDIRECT --to-ports 30001", "RETURN"],
    "nat -A NODEPORTS": ["RETURN", "ONE", "ACCEPT"],
    "filter -A INPUT": ["DROP", "REJECT"],
    "filter -A FORWARD": ["DROP", "ACCEPT"],
}
RULES = st.lists(
    st.sampled_from(sorted(CHAINS)).flatmap(
        lambda where: st.tuples(st.just(where), st.sampled_from(MATCHES), st.sampled_from(CHAINS[where])).map(
            lambda parts: f"{parts[0]} {parts[1]} -j {parts[2]}".replace("  ", " ")
        )
    ),
    max_size=6,
)


def program_of(rules: str) -> Program:
    return Program((IptablesSpace(ruleset(rules)),), Surroundings(network=NETWORK, ipsets=SETS))


def walked_alone(program: Program, goal: Frontend) -> Behaviour:
    clients = clients_at(NETWORK, goal.position, str(goal.address), None)
    return Behaviour(cases=cases_of(Walker(program).walk(goal, clients)))


@given(RULES)
def test_each_frontend_gets_what_a_walk_of_its_own_finds(rules: list[str]) -> None:
    # In front: a rule that is met at all.
    program = program_of("\n".join([*rules, NODE_PORTS]))
    found = behaviours_of(Walker(program), NETWORK, dict.fromkeys(FRONTENDS))
    for goal, behaviour in found.items():
        assert behaviour == walked_alone(program, goal), goal


@pytest.mark.parametrize("match", MATCHES)
@pytest.mark.parametrize("chain", ["mangle -A PREROUTING", "nat -A NODEPORTS", "filter -A INPUT"])
def test_each_match_may_tell_the_nodes_own_addresses_apart(match: str, chain: str) -> None:
    target = "RETURN" if "NODEPORTS" in chain else "DROP"
    program = program_of(f"{chain} {match} -j {target}\n{NODE_PORTS}")
    for goal, behaviour in behaviours_of(Walker(program), NETWORK, dict.fromkeys(FRONTENDS)).items():
        assert behaviour == walked_alone(program, goal), goal


@pytest.mark.parametrize(("also", "number"), [("", 1), ("filter -A INPUT -d 10.244.1.1/32 -j DROP\n", 2)])
def test_own_addresses_that_are_alike_are_walked_once(also: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    walks: list[Frontend] = []
    walk = Walker.walk

    def counted(self: Walker, goal: Frontend, clients: object) -> object:
        walks.append(goal)
        return walk(self, goal, clients)  # type: ignore[arg-type]

    monkeypatch.setattr(Walker, "walk", counted)
    goals = [frontend(where, 30000, Position.EXTERNAL) for where in OWN[:2]]
    found = behaviours_of(Walker(program_of(also + NODE_PORTS)), NETWORK, dict.fromkeys(goals))
    assert (len(found), len(walks)) == (2, number)


def test_what_asks_for_destinations_is_a_match_that_is_known() -> None:
    assert READERS.keys() >= OF_DESTINATIONS
