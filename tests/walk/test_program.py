"""Chains are found by destination and port exactly as they would be by looking at every rule."""

from __future__ import annotations

import itertools
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdiag.model.addresses import Family
from kdiag.model.dataplane import Effect
from kdiag.model.rules import Ruleset
from kdiag.walk import program
from kdiag.walk.iptables_rules import IptablesSpace
from kdiag.walk.meaning import Surroundings
from kdiag.walk.program import Chains, CompiledChain, interface_test
from tests.walk.generated import rules
from tests.walk.setting import NETWORKS, address, dump, ruleset, told

SERVICES = "\n".join(
    f"nat -A KUBE-SERVICES -d 10.96.0.{index}/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.244.1.{index}"
    for index in range(1, 21)
)


def _chains(of: Ruleset) -> Chains:
    return Chains(IptablesSpace(of), Surroundings(network=NETWORKS[Family.IPV4]), itertools.count().__next__, {})


def _chain(text: str, table: str = "nat", name: str = "KUBE-SERVICES") -> CompiledChain:
    found = _chains(ruleset(text)).chain(table, name)
    assert found is not None
    return found


def _lines_of(chain: CompiledChain, destination: str, number: int) -> list[str]:
    return [item.met.text for item in chain.candidates(int(address(destination)), number)]


class TestIndex:
    def test_of_many_services_only_the_one_is_looked_at(self) -> None:
        chain = _chain(f"{SERVICES}\nnat -A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS")
        texts = _lines_of(chain, "10.96.0.7", 80)
        assert len(texts) == 2
        assert "-d 10.96.0.7/32" in texts[0]
        assert "KUBE-NODEPORTS" in texts[1]
        assert len(_lines_of(chain, "10.9.9.9", 80)) == 1

    def test_node_ports_are_looked_up_by_their_number(self) -> None:
        lines = "\n".join(
            f"nat -A KUBE-NODEPORTS -p tcp -m tcp --dport {30000 + index} -j KUBE-EXT-{index}" for index in range(20)
        )
        chain = _chain(lines, name="KUBE-NODEPORTS")
        assert _lines_of(chain, "192.168.56.11", 30003) == [
            "-A KUBE-NODEPORTS -p tcp -m tcp --dport 30003 -j KUBE-EXT-3"
        ]
        assert _lines_of(chain, "192.168.56.11", 80) == []

    def test_printed_order_is_kept(self) -> None:
        lines = f"""nat -A KUBE-SERVICES -d 10.96.0.7/32 -j ACCEPT
            nat -A KUBE-SERVICES -p tcp -m tcp --dport 80 -j RETURN
            nat -A KUBE-SERVICES -s 10.0.0.0/8 -j RETURN
            {SERVICES}
            nat -A KUBE-SERVICES -j ACCEPT"""
        chain = _chain(lines)
        found = [item.order for item in chain.candidates(int(address("10.96.0.7")), 80)]
        assert found == [0, 1, 2, 9, 23]

    def test_a_short_chain_is_not_indexed(self) -> None:
        chain = _chain("nat -A KUBE-SERVICES -d 10.96.0.7/32 -j ACCEPT\nnat -A KUBE-SERVICES -j RETURN")
        assert len(_lines_of(chain, "10.9.9.9", 80)) == 2

    @pytest.mark.parametrize(
        "match",
        [
            "! -d 10.96.0.7/32",
            "-d 10.96.0.0/24",
            "-d 10.96.0.7,10.96.0.8",
            "-p tcp -m tcp ! --dport 80",
            "-p tcp -m tcp --dport 79:81",
            "-p tcp -m tcp --dport what",
            "-p tcp -m multiport --dports 80,81",
            "-p tcp -m tcp --dport",
            "-m what --dport 81",
        ],
    )
    def test_what_asks_for_more_than_one_is_always_looked_at(self, match: str) -> None:
        chain = _chain(f"{SERVICES}\nnat -A KUBE-SERVICES {match} -j RETURN")
        assert len(_lines_of(chain, "10.9.9.9", 80)) == 1

    @pytest.mark.parametrize("spelled", ["80", "http", "0x50", "80:80"])
    def test_one_port_in_any_spelling_is_looked_up(self, spelled: str) -> None:
        chain = _chain(f"{SERVICES}\nnat -A KUBE-SERVICES -p tcp -m tcp --dport {spelled} -j RETURN")
        assert len(_lines_of(chain, "10.9.9.9", 80)) == 1
        assert _lines_of(chain, "10.9.9.9", 81) == []

    @given(st.data())
    def test_an_indexed_chain_says_what_a_scanned_one_says(self, data: st.DataObject) -> None:
        lines = [line for chain in ("PREROUTING", "U", "V") for line in data.draw(rules("nat", chain, most=16))]
        text = "\n".join(["nat :U -", "nat :V -", *lines])
        said = []
        for indexed_from in (0, 8, 1 << 30):
            with patch.object(program, "INDEXED_FROM", indexed_from):
                said.append(
                    [
                        told(text, destination=destination, number=number)
                        for destination in ("10.96.0.10", "10.96.0.12", "192.168.56.11")
                        for number in (80, 81)
                    ]
                )
        assert said[0] == said[1] == said[2]


class TestChains:
    def test_a_chain_is_compiled_once(self) -> None:
        made = _chains(ruleset(SERVICES))
        assert made.chain("nat", "KUBE-SERVICES") is made.chain("nat", "KUBE-SERVICES")
        assert made.chain("nat", "GONE") is None
        assert made.chain("raw", "PREROUTING") is None

    def test_every_rule_has_a_number_of_its_own(self) -> None:
        made = _chains(ruleset(f"{SERVICES}\nfilter -A FORWARD -j DROP"))
        chains = [made.chain("nat", "KUBE-SERVICES"), made.chain("filter", "FORWARD")]
        numbers = [item.number for chain in chains if chain for item in chain.rules]
        assert sorted(numbers) == list(range(21))

    def test_unread_lines_stand_where_they_stood(self) -> None:
        text = dump("filter -A FORWARD -j RETURN\nfilter -A FORWARD -j DROP").replace(
            "-A FORWARD -j DROP", '-A FORWARD --comment "open\n-A FORWARD -j DROP'
        )
        made = _chains(ruleset(text))
        chain = made.chain("filter", "FORWARD")
        assert chain is not None
        assert [item.met.effect for item in chain.rules] == [Effect.RETURN, Effect.OTHER, Effect.DROP]

    @pytest.mark.parametrize(
        ("line", "inert"),
        [
            ("-j LOG", True),
            ("-p tcp", True),
            ("-m limit --limit 1/s -j NFLOG", True),
            ("-j ACCEPT", False),
            ("-m recent --rcheck --name A", False),
            ("-m recent --set --name A", False),
            ("-j WHATEVER", False),
        ],
    )
    def test_rules_that_change_nothing_are_known(self, line: str, inert: bool) -> None:
        chain = _chain(f"filter -A FORWARD {line}", "filter", "FORWARD")
        assert bool(chain.rules) is not inert


@pytest.mark.parametrize(
    ("name", "known", "answer"),
    [
        ("eth0", "eth0", True),
        ("eth0", "eth01", False),
        ("eth+", "eth01", True),
        ("eth+", "cni0", False),
        ("+", "", True),
    ],
)
def test_interface_names(name: str, known: str, answer: bool) -> None:
    assert interface_test(name, False)(known) is answer
    assert interface_test(name, True)(known) is not answer
