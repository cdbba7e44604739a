"""Cases are disjoint, cover the clients, and say with which shares their packets end."""

from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdiag.model.addresses import AddressSet, Family
from kdiag.model.dataplane import ClientSet, Disposition, Fate, Position
from kdiag.walk.cases import MAX_WORLDS, cases_of, cut, fate_order, make_outcome
from kdiag.walk.walker import Leaf
from tests.walk.generated import chains, lines
from tests.walk.setting import NETWORKS, VIP, address, addresses, cases, clients_at, describe, dump, leaves

DROPPED = Fate(disposition=Disposition.DROPPED)
REJECTED = Fate(disposition=Disposition.REJECTED)
THROUGH = Fate(disposition=Disposition.UNTRANSLATED)


def _leaf(fate: Fate, weight: float = 1.0, *assumptions: tuple[int, bool]) -> Leaf:
    return Leaf(
        clients=ClientSet(addresses=addresses("10.0.0.0/8")),
        weight=weight,
        assumptions=assumptions,
        fate=fate,
        passed=None,
    )


class TestOutcomes:
    def test_equal_fates_are_added(self) -> None:
        outcome = make_outcome([(DROPPED, 0.25), (REJECTED, 0.25), (REJECTED, 0.5)])
        assert outcome.shares == ((DROPPED, 0.25), (REJECTED, 0.75))

    def test_shares_are_scaled_to_one(self) -> None:
        assert make_outcome([(DROPPED, 0.1), (REJECTED, 0.1)]).shares == ((DROPPED, 0.5), (REJECTED, 0.5))
        assert make_outcome([]).shares == ()
        assert make_outcome([(DROPPED, 0.0)]).shares == ((DROPPED, 0.0),)

    def test_each_way_that_an_undecided_rule_may_go_is_an_outcome(self) -> None:
        (case,) = cases_of([_leaf(DROPPED, 1.0, (1, True)), _leaf(THROUGH, 1.0, (1, False))])
        assert describe(case)[1] == ["dropped", "untranslated"]

    def test_ways_that_exclude_each_other_are_not_mixed(self) -> None:
        found = [
            _leaf(DROPPED, 0.5, (1, True)),
            _leaf(REJECTED, 0.5, (1, True)),
            _leaf(THROUGH, 0.5, (1, False)),
            _leaf(REJECTED, 0.5, (1, False)),
        ]
        (case,) = cases_of(found)
        assert describe(case)[1] == ["dropped 0.5, rejected 0.5", "rejected 0.5, untranslated 0.5"]

    def test_with_very_many_undecided_rules_the_plain_ways_are_listed(self) -> None:
        count = MAX_WORLDS.bit_length() + 3
        found = [_leaf(DROPPED, 1.0, *((number, False) for number in range(count)))]
        found += [
            _leaf(REJECTED, 1.0, *((before, False) for before in range(number)), (number, True))
            for number in range(count)
        ]
        (case,) = cases_of(found)
        assert describe(case)[1] == ["dropped", "rejected"]

    def test_no_ends_are_no_cases(self) -> None:
        assert cases_of([]) == ()


class TestCut:
    def test_overlapping_sets_are_cut_at_their_borders(self) -> None:
        sets = [
            ClientSet(addresses=addresses("10.0.0.0/30")),
            ClientSet(addresses=addresses("10.0.0.2/31", "10.0.0.8/31")),
        ]
        assert [(str(clients.addresses.describe()), members) for clients, members in cut(sets)] == [
            ("10.0.0.0/31", (0,)),
            ("10.0.0.2/31", (0, 1)),
            ("10.0.0.8/31", (1,)),
        ]

    def test_interfaces_part_clients_too(self) -> None:
        everybody = addresses("10.0.0.0/8")
        sets = [
            ClientSet(addresses=everybody, interfaces=frozenset({"a", "b", "c"})),
            ClientSet(addresses=everybody, interfaces=frozenset({"b", "c"})),
            ClientSet(addresses=everybody),
        ]
        assert {(clients.interfaces, members) for clients, members in cut(sets)} == {
            (frozenset({"a"}), (0,)),
            (frozenset({"b", "c"}), (0, 1)),
            (None, (2,)),
        }

    @given(
        st.lists(
            st.tuples(
                st.lists(st.tuples(st.integers(0, 40), st.integers(0, 6)), max_size=4),
                st.none() | st.frozensets(st.sampled_from("abc"), min_size=1),
            ),
            max_size=5,
        )
    )
    def test_pieces_are_disjoint_and_have_just_the_members_that_hold_them(
        self, shapes: list[tuple[list[tuple[int, int]], frozenset[str] | None]]
    ) -> None:
        sets = []
        for spans, interfaces in shapes:
            held = AddressSet.nothing(Family.IPV4)
            for first, more in spans:
                held = held | AddressSet.span(Family.IPV4, first, first + more)
            sets.append(ClientSet(addresses=held, interfaces=interfaces))
        pieces = cut(sets)
        for value in range(50):
            for name in (None, "a", "b", "c"):
                holding = tuple(index for index, item in enumerate(sets) if _holds(item, value, name))
                found = [members for clients, members in pieces if _holds(clients, value, name)]
                assert found == ([holding] if holding else [])


def _holds(clients: ClientSet, value: int, name: str | None) -> bool:
    inside = any(low <= value <= high for low, high in clients.addresses.ranges)
    return inside and (clients.interfaces is None if name is None else name in (clients.interfaces or ()))


class TestProperties:
    @given(chains(), st.sampled_from([80, 81]))
    def test_cases_are_disjoint_cover_the_clients_and_add_up(
        self, by_chain: dict[tuple[str, str], list[str]], number: int
    ) -> None:
        found = cases(lines(by_chain), number=number)
        covered = AddressSet.nothing(Family.IPV4)
        for case in found:
            assert not covered & case.clients.addresses
            assert case.clients.interfaces == frozenset({"cni0"})
            covered = covered | case.clients.addresses
            assert case.outcomes
            assert len(set(case.outcomes)) == len(case.outcomes)
            assert bool(case.unclear) <= (len(case.outcomes) > 1)
            for outcome in case.outcomes:
                assert sum(share for _, share in outcome.shares) == pytest.approx(1)
                assert all(share > 0 for _, share in outcome.shares)
                fates = [fate for fate, _ in outcome.shares]
                assert fates == sorted(set(fates), key=fate_order)
        (clients,) = clients_at(NETWORKS[Family.IPV4], Position.POD, VIP, None)
        assert covered == clients.addresses

    @given(chains())
    def test_weights_of_one_client_add_up_on_each_way(self, by_chain: dict[tuple[str, str], list[str]]) -> None:
        found = leaves(lines(by_chain), only="10.244.1.77")
        undecided = sorted({number for leaf in found for number, _ in leaf.assumptions})
        for way in (True, False):
            world = dict.fromkeys(undecided, way)
            weights = [
                leaf.weight for leaf in found if all(world[number] is taken for number, taken in leaf.assumptions)
            ]
            assert sum(weights) == pytest.approx(1)

    @given(chains(), st.randoms(use_true_random=False))
    def test_order_of_chains_counters_and_comments_change_nothing(
        self, by_chain: dict[tuple[str, str], list[str]], shuffled: Random
    ) -> None:
        plain = _said(lines(by_chain))
        order = list(by_chain)
        shuffled.shuffle(order)
        decorated = {}
        for key in order:
            decorated[key] = [
                line.replace(" -j ", ' -m comment --comment "say -j DROP" -j ', 1) if index % 2 else line
                for index, line in enumerate(by_chain[key])
            ]
        counted = re.sub(r"^-A ", "[7:420] -A ", dump(lines(decorated)), flags=re.MULTILINE)
        assert "[7:420] -A" in counted or not any(by_chain.values())
        assert _said(counted) == plain

    @given(chains())
    def test_one_client_alone_fares_as_among_all(self, by_chain: dict[tuple[str, str], list[str]]) -> None:
        text = lines(by_chain)
        everybody = cases(text)
        for client in ("10.244.1.76", "10.244.1.65", "10.244.1.200"):
            (alone,) = cases(text, only=client)
            (among,) = [case for case in everybody if address(client) in case.clients.addresses]
            assert set(alone.outcomes) == set(among.outcomes)


def _said(text: str) -> list[tuple[str, list[str]]]:
    return [describe(case) for case in cases(text)]
