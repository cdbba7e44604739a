"""What the targets that the walk claims to know do to a packet; of the others it says that it cannot tell."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from kdiag.model.addresses import AddressSet, Family
from kdiag.model.dataplane import ClientSet, Position
from kdiag.walk.network import node_network
from kdiag.walk.targets import describe, new_sources, read_destination
from tests.walk.setting import (
    HOST,
    NETWORKS,
    NODE,
    NODE_IP,
    OUTSIDE,
    POD,
    POD6,
    VIP6,
    addresses,
    interface_address,
    leaves,
    one,
    ruleset,
    told,
)


class TestVerdicts:
    @pytest.mark.parametrize(
        ("target", "end"),
        [
            ("DROP", "dropped"),
            ("REJECT", "rejected"),
            ("REJECT --reject-with icmp-port-unreachable", "rejected"),
            ("ACCEPT", "untranslated"),
            ("RETURN", "untranslated"),
        ],
    )
    def test_the_packet_ends_there(self, target: str, end: str) -> None:
        assert one(f"filter -A FORWARD -j {target}") == [end]

    @pytest.mark.parametrize("policy", ["ACCEPT", "DROP"])
    def test_return_in_a_built_in_chain_leaves_it_to_the_policy(self, policy: str) -> None:
        lines = f"filter :FORWARD {policy}\nfilter -A FORWARD -j RETURN\nfilter -A FORWARD -j REJECT"
        assert one(lines) == ["dropped" if policy == "DROP" else "untranslated"]

    def test_a_drop_after_a_translation_keeps_the_backend(self) -> None:
        lines = "nat -A PREROUTING -p tcp -j DNAT --to-destination 10.244.1.5:80\nfilter -A FORWARD -j DROP"
        assert one(lines) == ["dropped after 10.244.1.5:80"]

    @pytest.mark.parametrize(
        "target",
        [
            "LOG --log-prefix hello",
            "NFLOG --nflog-group 1",
            "TRACE",
            "TCPMSS --clamp-mss-to-pmtu",
            "SET --add-set seen src",
            "TEE --gateway 10.0.0.1",
        ],
    )
    @pytest.mark.parametrize("match", ["", "-m limit --limit 1/s"])
    def test_targets_that_change_nothing_are_passed(self, match: str, target: str) -> None:
        found = leaves(f"mangle -A PREROUTING {match} -j {target}", only=POD)
        assert [(leaf.fate.disposition.value, leaf.assumptions, leaf.passed) for leaf in found] == [
            ("untranslated", (), None)
        ]

    @pytest.mark.parametrize(
        "target", ["NFQUEUE --queue-num 1", "TPROXY --on-port 80", "NETMAP --to 10.0.0.0/8", "WHATEVER"]
    )
    def test_what_an_unknown_target_does_cannot_be_told(self, target: str) -> None:
        assert one(f"mangle -A PREROUTING -j {target}") == ["unknown", "untranslated"]

    def test_an_unknown_target_that_is_certainly_not_met_is_harmless(self) -> None:
        assert one("mangle -A PREROUTING -d 10.96.0.11/32 -j TPROXY --on-port 80") == ["untranslated"]

    def test_a_chain_goes_before_a_target_of_the_same_name(self) -> None:
        """As libiptc resolves names."""
        assert one("filter -A FORWARD -j LOG\nfilter -A LOG -j DROP") == ["dropped"]

    def test_marking_in_a_way_that_is_not_known_cannot_be_told(self) -> None:
        for target in (
            "MARK --set-mark much",
            "MARK --set-hash 1",
            "CONNMARK --save-mark --left-shift-mark 2",
            "CONNMARK --restore-mark --right-shift-mark 2",
        ):
            assert one(f"mangle -A PREROUTING -j {target}") == ["unknown", "untranslated"]


class TestNewDestinations:
    @pytest.mark.parametrize(
        ("target", "end"),
        [
            ("DNAT --to-destination 10.244.1.5:8080", "10.244.1.5:8080"),
            ("DNAT --to-destination 10.244.1.5", "10.244.1.5:80"),
            ("DNAT --to-destination :8080", "10.96.0.10:8080"),
            ("DNAT --to-destination 10.244.1.5:8080 --random --persistent", "10.244.1.5:8080"),
            ("DNAT --to-destination 10.244.1.5-10.244.1.9", "unknown"),
            ("DNAT --to-destination 10.244.1.5:80-90", "unknown"),
            ("DNAT --to-destination 10.244.1.5:80-90/100", "unknown"),
            ("DNAT --to-destination :0 --persistent", "unknown"),
            ("DNAT --to-destination 10.244.1.5:99999", "unknown"),
            ("DNAT --to-destination 10.244.1.5:²", "unknown"),
            ("DNAT --to-destination what:80", "unknown"),
            ("DNAT --random", "unknown"),
            ("REDIRECT", "10.244.1.1:80"),
            ("REDIRECT --to-ports 8080", "10.244.1.1:8080"),
            ("REDIRECT --to-ports 8080-8090", "unknown"),
            ("REDIRECT --to-ports ³", "unknown"),
        ],
    )
    def test_where_it_goes(self, target: str, end: str) -> None:
        assert one(f"nat -A PREROUTING -p tcp -j {target}") == [end]

    @pytest.mark.parametrize(
        ("target", "end"),
        [
            ("DNAT --to-destination [fd00:244:1::5]:8080", "[fd00:244:1::5]:8080"),
            ("DNAT --to-destination fd00:244:1::5", "[fd00:244:1::5]:80"),
            ("DNAT --to-destination [fd00:244:1::5]", "[fd00:244:1::5]:80"),
            ("DNAT --to-destination :8080", "[fd00:96::a]:8080"),
            ("DNAT --to-destination [fd00:244:1::5-fd00:244:1::9]:80", "unknown"),
            ("REDIRECT --to-ports 8080", "[fd00:244:1::1]:8080"),
        ],
    )
    def test_where_it_goes_in_ipv6(self, target: str, end: str) -> None:
        assert one(f"nat -A PREROUTING -p tcp -j {target}", destination=VIP6, only=POD6) == [end]

    @pytest.mark.parametrize(
        ("text", "place"),
        [
            ("10.0.0.1:80", ("10.0.0.1", 80)),
            ("10.0.0.1", ("10.0.0.1", None)),
            (":80", (None, 80)),
            ("10.0.0.1:x", None),
        ],
    )
    def test_the_text_of_a_destination(self, text: str, place: tuple[str | None, int | None] | None) -> None:
        assert read_destination(text, Family.IPV4) == place

    def test_redirected_packets_of_the_node_go_to_loopback(self) -> None:
        line = "nat -A OUTPUT -p tcp -j REDIRECT --to-ports 8080"
        assert one(line, position=Position.NODE) == ["127.0.0.1:8080"]
        assert one(line, position=Position.NODE, destination=VIP6, only="fd00:56::11") == ["[::1]:8080"]

    def test_redirected_packets_go_to_the_interface_that_they_came_in_by(self) -> None:
        """As nf_nat_redirect_ipv4 does; found by comparing with a kernel."""
        line = "nat -A PREROUTING -p tcp -j REDIRECT"
        assert one(line, position=Position.EXTERNAL) == [f"{NODE_IP}:80"]

    @pytest.mark.parametrize("interfaces", [None, frozenset({"eth0", "cni0"}), frozenset({"cali123"})])
    def test_redirection_to_an_address_that_is_not_known(self, interfaces: frozenset[str] | None) -> None:
        clients = (ClientSet(addresses=addresses(POD), interfaces=interfaces),)
        assert told("nat -A PREROUTING -p tcp -j REDIRECT", clients=clients) == {POD: ["unknown"]}

    def test_a_node_of_one_address_is_redirected_to_that(self) -> None:
        host = replace(HOST, addresses=(interface_address("eth0", f"{NODE_IP}/24"),))
        clients = (ClientSet(addresses=addresses(POD)),)
        found = told(
            "nat -A PREROUTING -p tcp -j REDIRECT",
            clients=clients,
            network=node_network(Family.IPV4, host, NODE, ()),
        )
        assert found == {POD: [f"{NODE_IP}:80"]}

    def test_what_has_no_connection_is_not_translated(self) -> None:
        nat = "nat -A PREROUTING -p tcp -j DNAT --to-destination 10.244.1.5:8080"
        for untracking in ("CT --notrack", "NOTRACK"):
            assert one(f"raw -A PREROUTING -j {untracking}\n{nat}") == ["untranslated"]
        assert one(f"raw -A PREROUTING -j CT --zone 3\n{nat}") == ["10.244.1.5:8080"]
        assert one(f"raw -A PREROUTING -d 10.96.0.11/32 -j CT --notrack\n{nat}") == ["10.244.1.5:8080"]

    @pytest.mark.parametrize("first", ["CT", "CT --zone 1", "CT --helper ftp"])
    @pytest.mark.parametrize("untracking", ["CT --notrack", "NOTRACK"])
    def test_a_template_of_a_connection_keeps_packets_tracked(self, first: str, untracking: str) -> None:
        nat = "nat -A PREROUTING -j DNAT --to-destination 10.244.1.5:8080"
        raw = f"raw -A PREROUTING -j {{}}\nraw -A PREROUTING -j {{}}\n{nat}"
        assert one(raw.format(first, untracking)) == ["10.244.1.5:8080"]
        assert one(raw.format(untracking, first)) == ["untranslated"]

    def test_the_first_translation_is_the_one(self) -> None:
        lines = """nat -A PREROUTING -p tcp -j DNAT --to-destination 10.244.1.5:8080
            nat -A PREROUTING -p tcp -j DNAT --to-destination 10.244.1.6:8080"""
        assert one(lines) == ["10.244.1.5:8080"]


class TestNewSources:
    DNAT = "nat -A PREROUTING -p tcp -j DNAT --to-destination {}\n"

    @pytest.mark.parametrize(
        ("line", "end"),
        [
            ("nat -A POSTROUTING -j MASQUERADE", "masquerade-other"),
            ("nat -A POSTROUTING -j MASQUERADE --random-fully", "masquerade-other"),
            ("nat -A POSTROUTING -j SNAT --to-source 10.0.0.1", "masquerade-other"),
            ("nat -A POSTROUTING -j KUBE-POSTROUTING\nnat -A KUBE-POSTROUTING -j MASQUERADE", "masquerade-proxy"),
            ("nat -A POSTROUTING -d 10.244.1.5/32 -j ACCEPT\nnat -A POSTROUTING -j MASQUERADE", ""),
            ("nat -A POSTROUTING -d 10.96.0.10/32 -j MASQUERADE", ""),
        ],
    )
    def test_who_rewrites_the_source(self, line: str, end: str) -> None:
        assert one(self.DNAT.format("10.244.1.5:80") + line) == [f"10.244.1.5:80 {end}".rstrip()]

    def test_packets_for_the_node_may_be_rewritten_in_input(self) -> None:
        """Found by comparing with a kernel: chain INPUT of nat exists since 2.6.36."""
        lines = f"{self.DNAT.format(NODE_IP)}nat -A INPUT -s 10.244.1.0/24 -j SNAT --to-source 10.0.0.1"
        assert one(lines) == [f"{NODE_IP}:80 masquerade-other"]
        assert one(lines, position=Position.EXTERNAL) == [f"{NODE_IP}:80"]
        assert one(lines.replace("PREROUTING", "OUTPUT"), position=Position.NODE) == [f"{NODE_IP}:80"]

    @pytest.mark.parametrize(
        ("rewriting", "match", "ends"),
        [
            ("MASQUERADE", "-s 192.168.56.11/32", ["dropped", "untranslated"]),  # which of its own it picks is not told
            ("MASQUERADE", "-s 10.244.2.0/24", ["untranslated"]),
            ("MASQUERADE", "! -s 10.244.2.0/24", ["dropped"]),
            ("MASQUERADE", "-m conntrack --ctstate SNAT", ["dropped", "untranslated"]),
            ("MASQUERADE", "-m conntrack --ctorigsrc 192.168.56.11", ["dropped", "untranslated"]),
            ("SNAT --to-source 10.0.0.1", "-s 10.0.0.1/32", ["dropped"]),
            ("SNAT --to-source 10.0.0.1:1024-65535", "-s 192.168.56.11/32", ["untranslated"]),
            ("SNAT --to-source 10.0.0.1-10.0.0.9", "-s 10.0.0.1/32", ["dropped", "untranslated"]),
            ("ACCEPT", "-s 192.168.56.11/32", ["dropped"]),
        ],
    )
    def test_over_lo_the_new_source_is_what_input_sees(self, rewriting: str, match: str, ends: list[str]) -> None:
        lines = f"nat -A POSTROUTING -j {rewriting}\nfilter -A INPUT {match} -j DROP"
        found = one(lines, position=Position.NODE, destination=NODE_IP)
        assert sorted(end.partition(" ")[0] for end in found) == ends

    @pytest.mark.parametrize(
        ("target", "written"),
        [
            ("MASQUERADE", ("fd00:56::11", "fd00:244:1::1", "::1")),
            ("SNAT --to-source fd00::5", ("fd00::5",)),
            ("SNAT --to-source [fd00::5]:80", ("fd00::5",)),
        ],
    )
    def test_the_addresses_that_may_be_written(self, target: str, written: tuple[str, ...]) -> None:
        own = NETWORKS[Family.IPV6].own
        rules = ruleset(f"nat -A POSTROUTING -j {target}", family=Family.IPV6)
        chain = rules.chain("nat", "POSTROUTING")
        assert chain is not None
        assert new_sources(chain.rules[0], own) == addresses(*written, family=Family.IPV6)

    def test_a_range_of_new_addresses_may_be_any(self) -> None:
        rules = ruleset("nat -A POSTROUTING -j SNAT --to-source 10.0.0.1-10.0.0.2\nnat -A POSTROUTING -j SNAT")
        chain = rules.chain("nat", "POSTROUTING")
        assert chain is not None
        for rule in chain.rules:
            assert new_sources(rule, NETWORKS[Family.IPV4].own) == AddressSet.everything(Family.IPV4)


class TestAffinity:
    LINES = """nat -A PREROUTING -j SVC
        nat -A SVC -m recent --rcheck --seconds 10800 --reap --name A --mask 255.255.255.255 --rsource -j SEP-A
        nat -A SVC -j SEP-A
        nat -A SEP-A -p tcp -m recent --set --name A --mask 255.255.255.255 --rsource -m tcp -j DNAT --to-destination 10.244.1.5:80"""

    def test_a_list_that_is_asked_and_written_binds_the_client(self) -> None:
        assert one(self.LINES) == ["10.244.1.5:80 affinity-10800"]

    def test_without_a_time_a_client_is_bound_for_ever(self) -> None:
        assert one(self.LINES.replace("--seconds 10800 --reap ", "")) == ["10.244.1.5:80 affinity-0"]

    def test_the_list_may_be_written_by_a_rule_that_does_nothing_else(self) -> None:
        lines = self.LINES.replace(
            "nat -A SEP-A -p tcp -m recent --set --name A --mask 255.255.255.255 --rsource",
            "nat -A SEP-A -m recent --set --name A --rsource\nnat -A SEP-A -p tcp",
        )
        assert one(lines) == ["10.244.1.5:80 affinity-10800"]

    def test_a_rule_that_writes_the_list_may_log(self) -> None:
        lines = self.LINES.replace("nat -A SEP-A", "nat -A SEP-A -m recent --set --name A -j LOG\nnat -A SEP-A", 1)
        assert one(lines.replace("-p tcp -m recent --set --name A", "-p tcp -m recent --set --name B")) == [
            "10.244.1.5:80 affinity-10800"
        ]

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("--set --name A", "--set --name B"),  # another list is written than is asked
            ("--rsource -j SEP-A", "--rsource -j SEP-B"),  # who is in the list is sent elsewhere
            ("--rcheck", "--update"),
            ("--reap --name A", "--reap --name B"),
            ("-m recent --rcheck", "-p udp -m recent --rcheck"),  # never asked by TCP
            ("nat -A SVC -m recent", "nat -A SVC -s 10.244.1.78/32 -m recent"),  # nor for this client
        ],
    )
    def test_anything_else_does_not_bind(self, old: str, new: str) -> None:
        lines = self.LINES.replace(old, new)
        assert lines != self.LINES
        assert one(f"{lines}\nnat -A SEP-B -p tcp -j DNAT --to-destination 10.244.1.6:80") == ["10.244.1.5:80"]

    def test_only_the_clients_that_are_asked_for_are_bound(self) -> None:
        lines = self.LINES.replace("nat -A SVC -m recent", "nat -A SVC -s 10.244.1.76/32 -m recent")
        found = told(lines, only="10.244.1.76/31")
        assert found == {"10.244.1.76": ["10.244.1.5:80 affinity-10800"], POD: ["10.244.1.5:80"]}

    def test_a_packet_that_is_dropped_binds_nobody(self) -> None:
        assert one(f"{self.LINES}\nfilter -A FORWARD -j DROP") == ["dropped after 10.244.1.5:80"]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("-j DNAT --to-destination 10.0.0.1:80", "DNAT to 10.0.0.1:80"),
        ("-j DNAT", "DNAT to ?"),
        ("-j REDIRECT --to-ports 80", "REDIRECT to port 80"),
        ("-j REDIRECT", "REDIRECT to port the same"),
        ("-j MARK --set-xmark 0x4000/0x4000", "mark set-xmark 0x4000/0x4000"),
        ("-j CONNMARK --save-mark", "connmark save-mark"),
        ("-j REJECT --reject-with tcp-reset", "REJECT with tcp-reset"),
        ("-j REJECT", "REJECT with icmp-port-unreachable"),
        ("-j SNAT --to-source 10.0.0.1", "SNAT to 10.0.0.1"),
        ("-j MASQUERADE", "MASQUERADE"),
        ("-j DROP", "DROP"),
        ("-j USER", "jump USER"),
        ("-g USER", "goto USER"),
        ("", "no target"),
    ],
)
def test_a_target_in_words(target: str, words: str) -> None:
    chain = ruleset(f"nat -A PREROUTING -p tcp {target}").chain("nat", "PREROUTING")
    assert chain is not None
    assert describe(chain.rules[0]) == words


def test_outside_clients_are_translated_too() -> None:
    lines = f"nat -A PREROUTING -s {OUTSIDE}/32 -p tcp -j DNAT --to-destination 10.244.1.5:80"
    assert one(lines, position=Position.EXTERNAL) == ["10.244.1.5:80"]
