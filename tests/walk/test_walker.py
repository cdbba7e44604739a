"""The order of hooks, tables and chains, and that every walk ends."""

from __future__ import annotations

import time

import pytest

from kdiag.model.dataplane import ClientSet, Disposition, Position
from kdiag.model.rules import Ruleset, UnreadLine
from kdiag.walk.cases import cases_of
from kdiag.walk.chains import MAX_ASSUMPTIONS
from kdiag.walk.iptables_rules import IptablesSpace
from kdiag.walk.meaning import Surroundings
from kdiag.walk.program import Program
from kdiag.walk.walker import Walker
from tests.walk.setting import (
    NETWORKS,
    NODE_IP,
    POD,
    VIP,
    addresses,
    cases,
    clients_at,
    describe,
    frontend,
    leaves,
    one,
    ruleset,
    told,
)

DNAT = "nat -A {} -p tcp -j DNAT --to-destination {}"
PATHS = {
    "from a pod, forwarded": (
        {"position": Position.POD},
        "raw PREROUTING, mangle PREROUTING, nat PREROUTING, mangle FORWARD, filter FORWARD, mangle POSTROUTING, "
        "nat POSTROUTING",
    ),
    "from outside, to the node": (
        {"position": Position.EXTERNAL, "destination": NODE_IP},
        "raw PREROUTING, mangle PREROUTING, nat PREROUTING, mangle INPUT, filter INPUT, nat INPUT",
    ),
    "from the node, sent away": (
        {"position": Position.NODE},
        "raw OUTPUT, mangle OUTPUT, nat OUTPUT, filter OUTPUT, mangle POSTROUTING, nat POSTROUTING",
    ),
    "from the node to itself": (
        {"position": Position.NODE, "destination": "10.244.1.1"},
        "raw OUTPUT, mangle OUTPUT, nat OUTPUT, filter OUTPUT, mangle POSTROUTING, nat POSTROUTING, "
        "raw PREROUTING, mangle PREROUTING, mangle INPUT, filter INPUT",
    ),
}
EVERYWHERE = "\n".join(
    f"{table} -A {hook} -j {table.upper()}\n{table} -A {table.upper()} -j RETURN"
    for table, hooks in {
        "raw": ("PREROUTING", "OUTPUT"),
        "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
        "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
        "filter": ("INPUT", "FORWARD", "OUTPUT"),
    }.items()
    for hook in hooks
)


class TestHooks:
    @pytest.mark.parametrize("way", PATHS)
    def test_tables_are_asked_in_the_kernels_order(self, way: str) -> None:
        where, expected = PATHS[way]
        found = leaves(EVERYWHERE, **where)  # type: ignore[arg-type]
        assert found
        for leaf in found:
            assert leaf.passed is not None
            asked = [f"{step.met.table} {step.hook}" for step in leaf.passed.steps() if step.depth == 0]
            assert ", ".join(asked) == expected

    @pytest.mark.parametrize("hook", ["INPUT", "OUTPUT"])
    def test_the_security_table_is_asked_too(self, hook: str) -> None:
        text = (
            f"*security\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A {hook} -j DROP\nCOMMIT\n"
        )
        assert one(text, position=Position.NODE, destination=NODE_IP) == ["dropped"]

    def test_after_a_translation_the_new_destination_decides_the_way(self) -> None:
        to_node = f"{DNAT.format('PREROUTING', NODE_IP)}\nfilter -A FORWARD -j DROP\nfilter -A INPUT -j REJECT"
        assert one(to_node) == [f"rejected after {NODE_IP}:80"]
        away = f"{DNAT.format('PREROUTING', '10.244.2.5')}\nfilter -A FORWARD -j DROP\nfilter -A INPUT -j REJECT"
        assert one(away, destination=NODE_IP) == ["dropped after 10.244.2.5:80"]

    def test_the_way_out_follows_the_new_destination(self) -> None:
        lines = f"{DNAT.format('PREROUTING', '10.244.2.5')}\nfilter -A FORWARD -o flannel.1 -j DROP"
        assert one(lines) == ["dropped after 10.244.2.5:80"]

    def test_in_output_the_way_out_is_still_that_of_the_first_route(self) -> None:
        """The hook's interfaces are set when it begins; found by comparing with a kernel."""
        dnat = DNAT.format("OUTPUT", "10.244.1.5")
        where = {"position": Position.NODE}
        assert one(f"{dnat}\nfilter -A OUTPUT -o eth0 -j DROP", **where) == ["dropped after 10.244.1.5:80"]
        assert one(f"{dnat}\nfilter -A OUTPUT -o cni0 -j DROP", **where) == ["10.244.1.5:80"]
        assert one(f"{dnat}\nnat -A POSTROUTING -o cni0 -j MASQUERADE", **where) == ["10.244.1.5:80 masquerade-other"]
        assert one(f"{dnat}\nnat -A POSTROUTING -o eth0 -j MASQUERADE", **where) == ["10.244.1.5:80"]

    def test_the_nodes_packets_to_itself_come_back_over_lo(self) -> None:
        dnat = DNAT.format("OUTPUT", "10.244.1.1")
        where = {"position": Position.NODE}
        assert one(f"{dnat}\nfilter -A INPUT -i lo -j DROP", **where) == ["dropped after 10.244.1.1:80"]
        assert one(f"{dnat}\nfilter -A INPUT ! -i lo -j DROP", **where) == ["10.244.1.1:80"]
        assert one(f"{dnat}\nmangle -A PREROUTING -i lo -j DROP", **where) == ["dropped after 10.244.1.1:80"]
        # The connection is known by then: nat is not asked again, and it cannot be taken out of tracking.
        assert one(f"{dnat}\n{DNAT.format('PREROUTING', '10.9.9.9')}", **where) == ["10.244.1.1:80"]
        untracked = f"{dnat}\nraw -A PREROUTING -j NOTRACK\nfilter -A INPUT -m conntrack --ctstate UNTRACKED -j DROP"
        assert one(untracked, **where) == ["10.244.1.1:80"]

    def test_loopback_is_a_client_of_its_own(self) -> None:
        lines = DNAT.format("OUTPUT", "10.244.1.5")
        assert told(lines, position=Position.NODE, destination="127.0.0.1") == {"127.0.0.1": ["10.244.1.5:80"]}

    def test_pods_and_outside_clients_do_not_pass_output(self) -> None:
        lines = DNAT.format("OUTPUT", "10.244.1.5")
        assert one(lines) == ["untranslated"]
        assert one(lines, position=Position.EXTERNAL) == ["untranslated"]
        assert one(DNAT.format("PREROUTING", "10.244.1.5"), position=Position.NODE) == ["untranslated"]

    @pytest.mark.parametrize("hook", ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"])
    def test_a_policy_ends_the_way(self, hook: str) -> None:
        where: dict[str, object] = {"position": Position.NODE if hook == "OUTPUT" else Position.POD}
        if hook == "INPUT":
            where["destination"] = NODE_IP
        (case,) = cases(f"mangle :{hook} DROP", only=NODE_IP if hook == "OUTPUT" else POD, **where)
        assert describe(case)[1] == ["dropped"]
        (last,) = case.paths.values()
        assert (last.met.action, last.met.is_policy, last.met.chain) == ("policy DROP", True, hook)
        assert last.ref().text == f":{hook} DROP"

    def test_marks_and_states_live_on_through_the_hooks(self) -> None:
        lines = """mangle -A PREROUTING -j MARK --set-mark 0x4000
            nat -A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE
            nat -A PREROUTING -p tcp -j DNAT --to-destination 10.244.1.5:80"""
        assert one(lines) == ["10.244.1.5:80 masquerade-other"]


class TestChains:
    def test_a_jump_comes_back_behind_itself(self) -> None:
        lines = "filter -A FORWARD -j A\nfilter -A FORWARD -j DROP\nfilter -A A -d 10.9.9.9/32 -j ACCEPT"
        assert one(lines) == ["dropped"]

    def test_a_goto_comes_back_behind_the_jump_before(self) -> None:
        lines = """filter -A FORWARD -j A
            filter -A A -g B
            filter -A A -j DROP
            filter -A B -d 10.9.9.9/32 -j ACCEPT
            filter -A FORWARD -j REJECT"""
        assert one(lines) == ["rejected"]

    def test_a_goto_from_a_built_in_chain_comes_back_to_its_policy(self) -> None:
        lines = "filter :FORWARD DROP\nfilter -A FORWARD -g A\nfilter -A FORWARD -j ACCEPT\nfilter -A A -j RETURN"
        assert one(lines) == ["dropped"]

    def test_return_ends_a_user_chain(self) -> None:
        lines = "filter -A FORWARD -j A\nfilter -A A -p tcp -j RETURN\nfilter -A A -j DROP"
        assert one(lines) == ["untranslated"]
        assert one(lines.replace("-p tcp", "-p udp")) == ["dropped"]

    def test_accept_in_a_user_chain_ends_the_table(self) -> None:
        lines = (
            "filter -A FORWARD -j A\nfilter -A FORWARD -j DROP\nfilter -A A -j ACCEPT\nmangle -A POSTROUTING -j DROP"
        )
        assert one(lines) == ["dropped"]
        assert one(lines.partition("\nmangle")[0]) == ["untranslated"]

    def test_a_part_that_returns_and_a_part_that_goes_on(self) -> None:
        lines = """nat -A PREROUTING -j A
            nat -A PREROUTING -p tcp -j DNAT --to-destination 10.244.1.6:80
            nat -A A -m statistic --mode random --probability 0.5 -j RETURN
            nat -A A -p tcp -j DNAT --to-destination 10.244.1.5:80"""
        assert one(lines) == ["10.244.1.5:80 0.5, 10.244.1.6:80 0.5"]

    def test_a_chain_that_the_dump_does_not_show_cannot_be_told(self) -> None:
        assert one("filter -A FORWARD -j GONE") == ["unknown", "untranslated"]
        assert one("filter -A FORWARD -d 10.9.9.9/32 -j GONE") == ["untranslated"]

    def test_a_chain_of_kube_proxy_that_the_dump_does_not_show_has_no_rules(self) -> None:
        assert one("nat -A PREROUTING -j KUBE-SVC-GONE\nnat -A PREROUTING -p tcp -j DNAT --to-destination :81") == [
            "10.96.0.10:81"
        ]

    def test_a_rule_without_a_target_only_counts(self) -> None:
        assert one("filter -A FORWARD -p tcp\nfilter -A FORWARD -j DROP") == ["dropped"]

    def test_a_line_that_was_not_read_may_do_anything_where_it_stood(self) -> None:
        text = 'filter -A FORWARD -m comment --comment "open -j DROP\nfilter -A FORWARD -d 10.96.0.10/32 -j DROP'
        found = ruleset(text)
        assert [line.chain for line in found.unread] == ["FORWARD"]
        assert one(text) == ["dropped", "unknown"]
        assert one(text.replace("FORWARD -m", "OUTPUT -m")) == ["dropped"]

    def test_a_line_that_was_not_read_outside_any_chain_is_not_walked(self) -> None:
        found = ruleset("filter -A FORWARD -j ACCEPT")
        odd = Ruleset(
            family=found.family,
            backend=found.backend,
            source=found.source,
            tables=found.tables,
            unread=(UnreadLine(line=1, text="?", reason="odd"),),
        )
        walker = Walker(Program((IptablesSpace(odd),), Surroundings(network=NETWORKS[found.family])))
        clients = clients_at(NETWORKS[found.family], Position.POD, VIP, POD)
        assert [leaf.fate.disposition.value for leaf in walker.walk(frontend(VIP, 80, Position.POD), clients)] == [
            "untranslated"
        ]


class TestUndecided:
    def test_both_ways_are_followed_and_the_rule_is_named(self) -> None:
        (case,) = cases("filter -A FORWARD -m limit --limit 1/s -j DROP", only=POD)
        assert describe(case)[1] == ["dropped", "untranslated"]
        assert [(ref.line, ref.text) for ref in case.unclear] == [(5, "-A FORWARD -m limit --limit 1/s -j DROP")]

    def test_it_does_not_matter_if_both_ways_end_alike(self) -> None:
        (case,) = cases("filter -A FORWARD -m limit --limit 1/s -j ACCEPT", only=POD)
        assert describe(case)[1] == ["untranslated"]
        assert case.unclear == ()

    def test_a_rule_that_is_met_twice_goes_the_same_way_twice(self) -> None:
        lines = """filter -A FORWARD -j A
            filter -A FORWARD -j MARK --set-mark 0x0
            filter -A FORWARD -j A
            filter -A FORWARD -m mark --mark 0x1 -j DROP
            filter -A A -m limit --limit 1/s -j RETURN
            filter -A A -j MARK --or-mark 0x1"""
        assert one(lines) == ["dropped", "untranslated"]
        assert len(leaves(lines, only=POD)) == 2

    def test_a_share_of_an_undecided_rule(self) -> None:
        lines = "filter -A FORWARD -m limit --limit 1/s -m statistic --mode random --probability 0.25 -j DROP"
        assert one(lines) == ["dropped 0.25, untranslated 0.75", "untranslated"]

    def test_too_many_of_them_are_not_followed(self) -> None:
        lines = "\n".join(f"filter -A FORWARD -m limit --limit {i}/s -j MARK --or-mark {1 << i:#x}" for i in range(12))
        found = leaves(lines, only=POD)
        assert max(len(leaf.assumptions) for leaf in found) <= MAX_ASSUMPTIONS
        assert len(found) <= 2 ** (MAX_ASSUMPTIONS + 1) * 12
        assert "unknown" in {leaf.fate.disposition.value for leaf in found}
        (case,) = cases_of(found)
        assert any(Disposition.UNKNOWN in outcome.dispositions for outcome in case.outcomes)

    def test_an_undecided_target_too_is_named(self) -> None:
        (case,) = cases("filter -A FORWARD -j NFQUEUE", only=POD)
        assert describe(case)[1] == ["unknown", "untranslated"]
        assert [ref.text for ref in case.unclear] == ["-A FORWARD -j NFQUEUE"]


class TestHostileDumps:
    @pytest.mark.parametrize(
        "lines",
        [
            "filter -A FORWARD -j A\nfilter -A A -j A",
            "filter -A FORWARD -j A\nfilter -A A -j B\nfilter -A B -j A",
            "filter -A FORWARD -j FORWARD",
            "filter -A FORWARD -g A\nfilter -A A -g A",
        ],
    )
    def test_a_loop_ends(self, lines: str) -> None:
        assert one(lines) == ["unknown"]

    def test_a_loop_that_doubles_at_every_turn_ends(self) -> None:
        lines = "filter -A FORWARD -j A\n" + "filter -A A -m statistic --mode random --probability 0.5 -j A\n" * 3
        before = time.monotonic()
        found = leaves(lines, only=POD)
        assert time.monotonic() - before < 30
        assert "unknown" in {leaf.fate.disposition.value for leaf in found}
        assert sum(leaf.weight for leaf in found) == pytest.approx(1)

    def test_chains_that_call_each_other_twice_end(self) -> None:
        """Thirty levels, two jumps each: a thousand million rules to pass, from sixty lines."""
        lines = "filter -A FORWARD -j A0\n"
        lines += "".join(f"filter -A A{level} -j A{level + 1}\n" * 2 for level in range(30))
        lines += "filter -A A30 -p tcp"
        before = time.monotonic()
        assert one(lines) == ["unknown"]
        assert time.monotonic() - before < 30

    def test_steps_are_counted_for_each_walk(self) -> None:
        network = NETWORKS[frontend(VIP, 80, Position.POD).family]
        walker = Walker(Program((IptablesSpace(ruleset("filter -A FORWARD -j DROP")),), Surroundings(network=network)))
        clients = clients_at(network, Position.POD, VIP, POD)
        for _ in range(3):
            assert [leaf.fate.disposition.value for leaf in walker.walk(frontend(VIP, 80, Position.POD), clients)] == [
                "dropped"
            ]


class TestPath:
    LINES = """nat -A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
        nat -A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-A
        nat -A KUBE-SVC-A -m statistic --mode random --probability 0.5 -j KUBE-SEP-A
        nat -A KUBE-SVC-A -j KUBE-SEP-B
        nat -A KUBE-SEP-A -p tcp -j DNAT --to-destination 10.244.1.5:80
        nat -A KUBE-SEP-B -p tcp -j DNAT --to-destination 10.244.1.6:80
        filter -A FORWARD -s 10.244.1.77/32 -j DROP"""

    def test_every_rule_that_was_passed_is_there_with_its_share(self) -> None:
        (case,) = cases(self.LINES, only="10.244.1.78")
        steps = {str(fate.backend): last.steps() for fate, last in case.paths.items()}
        assert [(step.met.chain, step.met.action, step.weight, step.depth) for step in steps["10.244.1.5:80"]] == [
            ("PREROUTING", "jump KUBE-SERVICES", 1.0, 0),
            ("KUBE-SERVICES", "jump KUBE-SVC-A", 1.0, 1),
            ("KUBE-SVC-A", "jump KUBE-SEP-A", 0.5, 2),
            ("KUBE-SEP-A", "DNAT to 10.244.1.5:80", 0.5, 3),
        ]
        assert len(steps["10.244.1.6:80"]) == 4

    def test_rules_of_others_are_told_from_kube_proxys(self) -> None:
        (case,) = cases(self.LINES, only=POD)
        for last in case.paths.values():
            assert [step.met.foreign for step in last.steps()] == [False, False, False, False, True]
            assert last.ref().foreign
            assert last.ref().source == "iptables-save.txt"


def test_several_sets_of_clients_are_walked_one_after_the_other() -> None:
    clients = (
        ClientSet(addresses=addresses("10.1.0.0/16"), interfaces=frozenset({"eth0"})),
        ClientSet(addresses=addresses("10.2.0.0/16"), interfaces=frozenset({"eth1"})),
    )
    found = told("mangle -A PREROUTING -i eth1 -j DROP", clients=clients, position=Position.EXTERNAL)
    assert found == {"10.1.0.0/16": ["untranslated"], "10.2.0.0/16": ["dropped"]}


def test_a_dump_without_tables_lets_everything_pass() -> None:
    assert one("# nothing") == ["untranslated"]
