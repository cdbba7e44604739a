"""Every match that the walk claims to know, and its opposite; what it does not know it says."""

from __future__ import annotations

from typing import ClassVar

import pytest
from msgspec.structs import replace

from kdiag.model.addresses import Family, Protocol
from kdiag.model.dataplane import ClientSet, Position
from kdiag.model.rules import IpSet, Option
from kdiag.walk.flow import Flow
from kdiag.walk.matches import compile_matches
from kdiag.walk.meaning import Compiled, Surroundings, read_mask, read_number, read_ports
from kdiag.walk.network import NodeNetwork, node_network
from tests.walk.setting import (
    HOST,
    NETWORKS,
    NODE,
    NODE_IP,
    OUTSIDE,
    POD,
    POD6,
    VIP,
    VIP6,
    addresses,
    leaves,
    matched,
    one,
    told,
)

OPPOSITE = {"yes": "no", "no": "yes", "?": "?"}


def _negated(match: str) -> str:
    """`-m X --option Y` as `-m X ! --option Y`, `-s X` as `! -s X`: the last option is negated."""
    head, dashes, tail = match.rpartition(" --") if " --" in match else ("", "", match)
    return f"{head} ! --{tail}" if dashes else f"! {tail}"


# A pod, 10.244.1.77 on cni0, opens a connection to 10.96.0.10:80.
BOTH_WAYS = [
    ("-s 10.244.1.77/32", "yes"),
    ("-s 10.244.1.0/24", "yes"),
    ("-s 10.244.2.0/24", "no"),
    ("-d 10.96.0.10/32", "yes"),
    ("-d 10.96.0.0/12", "yes"),
    ("-d 10.96.0.11/32", "no"),
    ("-i cni0", "yes"),
    ("-i cni+", "yes"),
    ("-i eth0", "no"),
    ("-i lo", "no"),
    ("-p tcp", "yes"),
    ("-p 6", "yes"),
    ("-p udp", "no"),
    ("-p icmp", "no"),
    ("-p 47", "no"),
    ("-p tcp -m tcp --dport 80", "yes"),
    ("-p tcp -m tcp --dport 79:81", "yes"),
    ("-p tcp -m tcp --dport :80", "yes"),
    ("-p tcp -m tcp --dport 80:", "yes"),
    ("-p tcp -m tcp --dport http", "yes"),
    ("-p tcp -m tcp --dport 81", "no"),
    ("-p tcp -m tcp --dport https", "no"),
    ("-p tcp -m tcp --dport smtp", "?"),
    ("-p tcp -m tcp --destination-port 80", "yes"),
    ("-p tcp -m tcp --sport 1:65535", "yes"),
    ("-p tcp -m tcp --sport 1024:65535", "?"),
    ("-p tcp -m tcp --sport nonsense", "?"),
    ("-p tcp -m multiport --dports 443,80", "yes"),
    ("-p tcp -m multiport --dports 443,79:81", "yes"),
    ("-p tcp -m multiport --dports 443,8443", "no"),
    ("-p tcp -m multiport --dports 443,what", "?"),
    ("-p tcp -m multiport --sports 0:65535", "yes"),
    ("-p tcp -m multiport --sports 53", "?"),
    ("-p tcp -m multiport --ports 80,443", "yes"),
    ("-p tcp -m multiport --ports 443", "?"),
    ("-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN", "yes"),
    ("-p tcp -m tcp --tcp-flags ALL SYN", "yes"),
    ("-p tcp -m tcp --tcp-flags SYN,ACK ACK", "no"),
    ("-p tcp -m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE", "no"),
    ("-p tcp -m tcp --tcp-flags RST,ACK NONE", "yes"),
    ("-p tcp -m tcp --tcp-flags SYN", "?"),
    ("-p tcp -m tcp --syn", "yes"),
    ("-p tcp -m tcp --tcp-option 2", "?"),
    ("-m mark --mark 0x0", "yes"),
    ("-m mark --mark 0x0/0x4000", "yes"),
    ("-m mark --mark 0x4000/0x4000", "no"),
    ("-m mark --mark 4", "no"),
    ("-m mark --mark what", "?"),
    ("-m connmark --mark 0x0", "yes"),
    ("-m connmark --mark 0x1/0x1", "no"),
    ("-m conntrack --ctstate NEW", "yes"),
    ("-m conntrack --ctstate NEW,RELATED", "yes"),
    ("-m conntrack --ctstate RELATED,ESTABLISHED", "no"),
    ("-m conntrack --ctstate INVALID", "no"),
    ("-m conntrack --ctstate UNTRACKED", "no"),
    ("-m conntrack --ctstate DNAT", "no"),
    ("-m conntrack --ctstate SNAT", "no"),
    ("-m state --state NEW", "yes"),
    ("-m state --state RELATED,ESTABLISHED", "no"),
    ("-m conntrack --ctorigdst 10.96.0.10", "yes"),
    ("-m conntrack --ctorigdst 10.96.0.0/12", "yes"),
    ("-m conntrack --ctorigdst 10.96.0.11/32", "no"),
    ("-m conntrack --ctorigdst what", "?"),
    ("-m conntrack --ctorigsrc 10.244.1.77", "yes"),
    ("-m conntrack --ctorigsrc 10.244.2.0/24", "no"),
    ("-m conntrack --ctorigsrc what", "?"),
    ("-m conntrack --ctorigdstport 80", "yes"),
    ("-m conntrack --ctorigdstport 81:90", "no"),
    ("-m conntrack --ctorigdstport what", "?"),
    ("-m conntrack --ctdir ORIGINAL", "yes"),
    ("-m conntrack --ctdir REPLY", "no"),
    ("-m conntrack --ctproto 6", "yes"),
    ("-m conntrack --ctproto udp", "no"),
    ("-m conntrack --ctstatus ASSURED", "?"),
    ("-m conntrack --ctreplsrc 10.244.1.5", "?"),
    ("-m addrtype --dst-type LOCAL", "no"),
    ("-m addrtype --dst-type UNICAST", "yes"),
    ("-m addrtype --dst-type MULTICAST,BROADCAST", "no"),
    ("-m addrtype --dst-type LOCAL,UNICAST", "yes"),
    ("-m addrtype --dst-type BLACKHOLE", "?"),
    ("-m addrtype --src-type LOCAL", "no"),
    ("-m addrtype --src-type UNICAST", "yes"),
    ("-m physdev --physdev-is-in", "yes"),
    ("-m physdev --physdev-in veth1", "?"),
    ("-m physdev --physdev-is-bridged", "?"),
    ("-m physdev --physdev-is-out", "?"),
    ("-m iprange --src-range 10.244.1.70-10.244.1.80", "yes"),
    ("-m iprange --src-range 10.244.1.78-10.244.1.80", "no"),
    ("-m iprange --src-range what-10.244.1.80", "?"),
    ("-m iprange --dst-range 10.96.0.1-10.96.0.20", "yes"),
    ("-m iprange --dst-range 10.96.0.11-10.96.0.20", "no"),
    ("-m iprange --dst-range 10.96.0.10", "yes"),
    ("-m pkttype --pkt-type unicast", "yes"),
    ("-m pkttype --pkt-type broadcast", "no"),
    ("-m recent --rcheck --seconds 60 --name X --mask 255.255.255.255 --rsource", "no"),
    ("-f", "no"),
    ("-m limit --limit 5/min", "?"),
    ("-m length --length 40:100", "?"),
    ("-m string --algo bm --string GET", "?"),
    ("-m owner --uid-owner 1000", "no"),
]


@pytest.mark.parametrize(("match", "answer"), BOTH_WAYS)
def test_a_match_and_its_opposite(match: str, answer: str) -> None:
    assert matched(match) == answer
    if "--rcheck" not in match:
        assert matched(_negated(match)) == OPPOSITE[answer]


ONE_WAY = [
    ('-m comment --comment "-j ACCEPT"', "yes"),
    ("-m nfacct --nfacct-name  localhost_nps_accepted_pkts", "yes"),
    ("-m rpfilter", "yes"),
    ("-m rpfilter --loose --validmark", "yes"),
    ("-m rpfilter --invert", "no"),
    ("-m policy --dir in --pol none", "yes"),
    ("-m policy --dir in --pol ipsec --proto esp", "no"),
    ("-m policy --dir in ! --pol ipsec", "yes"),
    ("-m socket", "?"),
    ("-m socket --transparent", "no"),
    ("-m nothing-known", "?"),
    ("-p tcp -m tcp", "yes"),
    ("-p udp -m udp", "no"),
    ("-m recent --set --name X --rsource", "yes"),
    ("-m recent ! --set --name X --rsource", "no"),
    ("-m recent ! --rcheck --name X --rsource", "yes"),
    ("-m recent --update --seconds 5 --name X --rsource", "no"),
    ("-m recent ! --update --name X", "yes"),
    ("-m recent --remove --name X", "no"),
    ("-m recent --rcheck --name X --rdest", "?"),
    ("-m recent --name X", "?"),
    ("-m statistic --mode random --probability 1", "yes"),
    ("-m statistic --mode random --probability 0", "no"),
    ("-m statistic --mode random ! --probability 1", "no"),
    ("-m statistic --mode nth --every 1 --packet 0", "yes"),
    ("-m statistic --mode nth --every 0", "?"),
    ("-m statistic --mode nth --every ²", "?"),
    ("-m statistic --mode random --probability much", "?"),
    ("-m statistic --mode random --probability 2", "?"),
    ("-m statistic --mode random --probability nan", "?"),
    ("-m statistic --mode odd --odds 1", "?"),
    ("-m addrtype --dst-type UNICAST --limit-iface-in", "?"),
    ("-p tcp -m limit --limit 1/s -m tcp --dport 81", "no"),
]


@pytest.mark.parametrize(("match", "answer"), ONE_WAY)
def test_a_match(match: str, answer: str) -> None:
    assert matched(match) == answer


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("tcp", "dport"),
        ("tcp", "sport"),
        ("multiport", "ports"),
        ("mark", "mark"),
        ("conntrack", "ctorigdst"),
        ("conntrack", "ctorigsrc"),
        ("conntrack", "ctorigdstport"),
        ("addrtype", "dst-type"),
        ("iprange", "src-range"),
        ("set", "match-set"),
        ("statistic", "probability"),
        ("statistic", "every"),
    ],
)
def test_an_option_without_its_value_cannot_be_told(module: str, name: str) -> None:
    compiled = compile_matches(
        (module,), (Option(module=module, name=name),), Surroundings(network=NETWORKS[Family.IPV4])
    )
    flow = _any_flow()
    assert None in [test(flow) for test in compiled.tests]
    assert compiled.sources is None


def _any_flow() -> Flow:
    return Flow(
        family=Family.IPV4,
        protocol="tcp",
        destination=1,
        port=80,
        addresses=addresses("10.244.1.77"),
        in_interfaces=None,
        local_origin=False,
    )


def test_ports_belong_to_protocols_that_have_them() -> None:
    assert matched("-p sctp -m sctp --dport 80", protocol=Protocol.SCTP) == "yes"
    assert matched("-p udp -m udp --dport 80", protocol=Protocol.UDP) == "yes"
    assert matched("-p udp -m udp --dport 80") == "no"


class TestIpv6:
    @pytest.mark.parametrize(
        ("match", "answer"),
        [
            ("-s fd00:244:1::77/128", "yes"),
            ("-d fd00:96::/112", "yes"),
            ("-m addrtype --dst-type LOCAL", "no"),
            ("-m addrtype --dst-type UNICAST", "yes"),
            ("-m addrtype --dst-type MULTICAST", "no"),
            ("-m addrtype --dst-type BROADCAST", "?"),
            ("-m iprange --dst-range fd00:96::1-fd00:96::ff", "yes"),
            ("-m conntrack --ctorigdst fd00:96::a", "yes"),
        ],
    )
    def test_a_match_and_its_opposite(self, match: str, answer: str) -> None:
        assert matched(match, destination=VIP6, only=POD6) == answer
        assert matched(_negated(match), destination=VIP6, only=POD6) == OPPOSITE[answer]

    @pytest.mark.parametrize(
        ("kinds", "answer"), [("LOCAL", "yes"), ("UNICAST", "yes"), ("LOCAL,UNICAST", "yes"), ("LOCAL,MULTICAST", "no")]
    )
    def test_a_local_address_is_unicast_too_and_all_kinds_must_fit(self, kinds: str, answer: str) -> None:
        """As match_type6 of xt_addrtype.c has it; found by comparing with a kernel."""
        assert matched(f"-m addrtype --dst-type {kinds}", destination="fd00:56::11", only=POD6) == answer


class TestAddressKindsOfIpv4:
    @pytest.mark.parametrize(
        ("destination", "kinds", "answer"),
        [
            (NODE_IP, "LOCAL", "yes"),
            (NODE_IP, "UNICAST", "no"),
            (NODE_IP, "LOCAL,UNICAST", "yes"),
            ("127.0.0.1", "LOCAL", "yes"),
            ("239.1.1.1", "MULTICAST", "yes"),
            ("255.255.255.255", "BROADCAST", "yes"),
            ("255.255.255.255", "UNICAST", "no"),
        ],
    )
    def test_each_address_is_of_one_kind(self, destination: str, kinds: str, answer: str) -> None:
        assert matched(f"-m addrtype --dst-type {kinds}", destination=destination) == answer

    def test_the_nodes_own_packets_come_from_a_local_address(self) -> None:
        match = "-m addrtype --src-type LOCAL"
        assert matched(match, hook="OUTPUT", position=Position.NODE) == "yes"
        assert matched(f"-m addrtype ! {match[12:]}", hook="OUTPUT", position=Position.NODE) == "no"


class TestMarks:
    @pytest.mark.parametrize(
        ("target", "value"),
        [
            ("MARK --set-xmark 0x4000/0x4000", "0x4000"),
            ("MARK --set-xmark 0x5/0xffffffff", "0x5"),
            ("MARK --set-mark 0x5", "0x5"),
            ("MARK --or-mark 0x4000", "0x4000"),
            ("MARK --and-mark 0xff", "0x0"),
            ("MARK --xor-mark 0x3", "0x3"),
        ],
    )
    def test_a_mark_is_what_was_set(self, target: str, value: str) -> None:
        before = f"mangle -A PREROUTING -j {target}"
        assert matched(f"-m mark --mark {value}", before=before) == "yes"
        assert matched(f"-m mark ! --mark {value}", before=before) == "no"

    @pytest.mark.parametrize(
        ("target", "value"),
        [
            ("--set-xmark 0x1/0x3", "0xd"),  # (0xe & ~3) ^ 1
            ("--set-mark 0x1/0x3", "0xd"),  # (0xe & ~3) | 1
            ("--set-mark 0x10/0x2", "0x1c"),  # bits of the value count too
            ("--set-xmark 0x6/0x0", "0x8"),  # an exclusive or
            ("--and-mark 0xc", "0xc"),
            ("--or-mark 0x1", "0xf"),
            ("--xor-mark 0xf", "0x1"),
        ],
    )
    def test_bits_are_changed_under_a_mask(self, target: str, value: str) -> None:
        before = f"mangle -A PREROUTING -j MARK --set-mark 0xe\nmangle -A PREROUTING -j MARK {target}"
        assert matched(f"-m mark --mark {value}", before=before) == "yes"

    def test_a_connection_keeps_its_mark(self) -> None:
        before = """mangle -A PREROUTING -j MARK --set-mark 0x5
            mangle -A PREROUTING -j CONNMARK --save-mark
            mangle -A PREROUTING -j MARK --set-mark 0x0"""
        assert matched("-m connmark --mark 0x5", before=before) == "yes"
        assert matched("-m connmark --mark 0x1/0x1", before=before) == "yes"
        assert matched("-m mark --mark 0x5", before=before) == "no"
        restored = f"{before}\nmangle -A PREROUTING -j CONNMARK --restore-mark"
        assert matched("-m mark --mark 0x5", before=restored) == "yes"

    @pytest.mark.parametrize(
        ("save", "restore", "value"),
        [
            ("--save-mark --nfmask 0xf --ctmask 0xf", "--restore-mark --nfmask 0x3 --ctmask 0x3", "0x3"),
            ("--save-mark --mask 0x4", "--restore-mark --mask 0x4", "0x4"),
            ("--save-mark --nfmask 0x1 --ctmask 0xffffffff", "--restore-mark", "0x1"),
            ("--set-xmark 0x8/0x8", "--restore-mark", "0x8"),
            ("--set-mark 0x2/0x2", "--restore-mark", "0x2"),
        ],
    )
    def test_masks_say_which_bits_are_saved_and_restored(self, save: str, restore: str, value: str) -> None:
        before = f"""mangle -A PREROUTING -j MARK --set-mark 0x7
            mangle -A PREROUTING -j CONNMARK {save}
            mangle -A PREROUTING -j MARK --set-mark 0x0
            mangle -A PREROUTING -j CONNMARK {restore}"""
        assert matched(f"-m mark --mark {value}", before=before) == "yes"

    def test_without_a_connection_there_is_nothing_to_restore(self) -> None:
        before = """raw -A PREROUTING -j NOTRACK
            mangle -A PREROUTING -j MARK --set-mark 0x5
            mangle -A PREROUTING -j CONNMARK --restore-mark"""
        assert matched("-m mark --mark 0x5", before=before) == "yes"


class TestConnections:
    DNAT = "nat -A PREROUTING -p tcp -j DNAT --to-destination 10.244.1.5:8080"

    @pytest.mark.parametrize(
        ("match", "answer"),
        [
            ("-m conntrack --ctstate DNAT", "yes"),
            ("-m conntrack ! --ctstate DNAT", "no"),
            ("-m conntrack --ctstate NEW", "yes"),
            ("-m conntrack --ctstate RELATED,ESTABLISHED,DNAT", "yes"),
            ("-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT", "no"),
            ("-m conntrack --ctorigdst 10.96.0.10", "yes"),
            ("-m conntrack --ctorigdstport 80", "yes"),
            ("-m conntrack --ctorigdstport 8080", "no"),
            ("-d 10.244.1.5/32", "yes"),
            ("-d 10.96.0.10/32", "no"),
            ("-p tcp -m tcp --dport 8080", "yes"),
            ("-p tcp -m tcp --dport 80", "no"),
        ],
    )
    def test_after_a_translation(self, match: str, answer: str) -> None:
        assert matched(match, hook="FORWARD", table="filter", before=self.DNAT) == answer

    def test_a_translation_that_changes_nothing_is_none(self) -> None:
        before = "nat -A PREROUTING -p tcp -j DNAT --to-destination :80"
        assert matched("-m conntrack --ctstate DNAT", hook="FORWARD", before=before) == "no"

    @pytest.mark.parametrize(
        ("match", "answer"),
        [
            ("-m conntrack --ctstate UNTRACKED", "yes"),
            ("-m conntrack --ctstate NEW", "no"),
            ("-m conntrack ! --ctstate NEW", "yes"),
            ("-m state --state UNTRACKED", "yes"),
            ("-m conntrack --ctorigdst 10.96.0.10", "no"),
            ("-m conntrack ! --ctorigdst 10.96.0.11", "no"),
            ("-m conntrack --ctorigsrc 10.244.1.0/24", "no"),
            ("-m connmark --mark 0x0", "no"),
            ("-m connmark ! --mark 0x1", "no"),
            ("-m conntrack --ctstate UNTRACKED --ctorigdst 10.96.0.10", "?"),
        ],
    )
    @pytest.mark.parametrize("target", ["CT --notrack", "NOTRACK"])
    def test_without_a_connection_only_the_state_can_match(self, target: str, match: str, answer: str) -> None:
        assert matched(match, before=f"raw -A PREROUTING -j {target}") == answer

    @pytest.mark.parametrize(
        "match",
        [
            "-m conntrack --ctstate NEW",
            "-m state --state NEW",
            "-m connmark --mark 0x0",
            "-m conntrack --ctdir ORIGINAL",
        ],
    )
    def test_table_raw_comes_before_the_connection(self, match: str) -> None:
        assert matched(match, table="raw") == "?"


class TestBridges:
    def test_only_what_comes_by_a_bridge_has_a_bridge_port(self) -> None:
        match = "-m physdev --physdev-is-in"
        assert matched(match, position=Position.EXTERNAL) == "no"
        assert matched("-m physdev ! --physdev-is-in", position=Position.EXTERNAL) == "yes"
        assert matched(match, hook="OUTPUT", position=Position.NODE) == "no"
        assert matched("-m physdev --physdev-in veth1", position=Position.EXTERNAL) == "no"

    def test_bridges_may_be_kept_from_netfilter(self) -> None:
        host = replace(HOST, sysctls={"net.bridge.bridge-nf-call-iptables": "0"})
        network = node_network(Family.IPV4, host, NODE, ())
        assert matched("-m physdev --physdev-is-in", network=network) == "no"

    @pytest.mark.parametrize("interfaces", [None, frozenset({"cni0", "eth0"})])
    def test_without_a_known_interface_it_cannot_be_told(self, interfaces: frozenset[str] | None) -> None:
        clients = (ClientSet(addresses=addresses(POD), interfaces=interfaces),)
        found = told("mangle -A PREROUTING -m physdev --physdev-is-in -j DROP", clients=clients)
        assert found == {POD: ["dropped", "untranslated"]}


class TestSets:
    SETS: ClassVar = {
        "hosts": IpSet(name="hosts", type="hash:ip", members=frozenset({"10.244.1.77", "10.96.0.10"})),
        "nets": IpSet(
            name="nets", type="hash:net", members=frozenset({"10.0.0.0/8", "10.244.0.0/16 nomatch", "10.244.1.77"})
        ),
        "ports": IpSet(name="ports", type="bitmap:port", members=frozenset({"80", "443"})),
        "sockets": IpSet(
            name="sockets", type="hash:ip,port", members=frozenset({"10.96.0.10,tcp:80", "10.96.0.11,udp:53", "odd"})
        ),
        "odd": IpSet(name="odd", type="hash:ip", members=frozenset({"10.96.0.10-what"})),
        "lists": IpSet(name="lists", type="list:set", members=frozenset({"hosts"})),
        "none": IpSet(name="none", type="hash:ip"),
    }

    @pytest.mark.parametrize(
        ("match", "answer"),
        [
            ("hosts src", "yes"),
            ("hosts dst", "yes"),
            ("nets src", "yes"),
            ("nets dst", "yes"),
            ("none src", "no"),
            ("none dst", "no"),
            ("ports dst", "yes"),
            ("ports src", "?"),
            ("sockets dst,dst", "yes"),
            ("sockets src,dst", "no"),
            ("odd dst", "?"),
            ("odd src", "?"),
            ("lists dst", "?"),
            ("hosts", "?"),
            ("absent dst", "?"),
        ],
    )
    def test_members_match(self, match: str, answer: str) -> None:
        assert matched(f"-m set --match-set {match}", ipsets=self.SETS) == answer
        assert matched(f"-m set ! --match-set {match}", ipsets=self.SETS) == OPPOSITE[answer]

    def test_of_nested_members_the_narrowest_decides(self) -> None:
        found = told(
            "mangle -A PREROUTING -m set --match-set nets src -j DROP", ipsets=self.SETS, only="10.244.1.76/31"
        )
        assert found == {"10.244.1.76": ["untranslated"], "10.244.1.77": ["dropped"]}

    def test_what_is_not_in_a_set_of_sockets(self) -> None:
        assert matched("-m set --match-set sockets dst,dst", ipsets=self.SETS, number=81) == "no"
        assert matched("-m set --match-set ports dst", ipsets=self.SETS, number=81) == "no"

    def test_sets_that_were_not_recorded_cannot_be_told(self) -> None:
        assert matched("-m set --match-set hosts dst") == "?"

    def test_counters_of_a_set_cannot_be_told(self) -> None:
        assert matched("-m set --match-set hosts dst --packets-gt 5", ipsets=self.SETS) == "?"


class TestShares:
    def test_probabilities_are_31_bit_fractions(self) -> None:
        found = leaves(
            """nat -A PREROUTING -p tcp -m statistic --mode random --probability 0.33333333349 -j DNAT --to-destination 10.244.1.5
               nat -A PREROUTING -p tcp -m statistic --mode random --probability 0.50000000000 -j DNAT --to-destination 10.244.1.6
               nat -A PREROUTING -p tcp -j DNAT --to-destination 10.244.1.7""",
            only=POD,
        )
        third = 715827883 / (1 << 31)
        assert [leaf.weight for leaf in found] == [third, (1 - third) * 0.5, (1 - third) * 0.5]

    def test_every_nth_packet_is_a_share_too(self) -> None:
        lines = """nat -A PREROUTING -p tcp -m statistic --mode nth --every 4 --packet 0 -j DNAT --to-destination 10.244.1.5
            nat -A PREROUTING -p tcp -m statistic --mode nth ! --every 4 --packet 0 -j DNAT --to-destination 10.244.1.6"""
        assert one(lines) == ["10.244.1.5:80 0.25, 10.244.1.6:80 0.5625, untranslated 0.1875"]

    def test_a_negated_probability_is_the_rest(self) -> None:
        lines = "mangle -A PREROUTING -m statistic --mode random ! --probability 0.25 -j DROP"
        assert one(lines) == ["dropped 0.75, untranslated 0.25"]

    def test_two_of_them_must_both_hold(self) -> None:
        both = "-m statistic --mode random --probability 0.5 -m statistic --mode random --probability 0.5"
        assert one(f"mangle -A PREROUTING {both} -j DROP") == ["dropped 0.25, untranslated 0.75"]


class TestSplitting:
    def test_a_rule_that_takes_one_pods_traffic_is_found_with_that_pod(self) -> None:
        for table in ("raw", "mangle"):
            found = told(f"{table} -A PREROUTING -s 10.244.1.77/32 -d 10.96.0.0/12 -j DROP", only="10.244.1.76/31")
            assert found == {"10.244.1.76": ["untranslated"], "10.244.1.77": ["dropped"]}

    def test_all_other_pods_are_one_case(self) -> None:
        found = told("raw -A PREROUTING -s 10.244.1.77/32 -d 10.96.0.0/12 -j DROP")
        assert found.pop("10.244.1.77") == ["dropped"]
        assert list(found.values()) == [["untranslated"]]

    def test_a_translation_for_one_client_only(self) -> None:
        found = told(
            """nat -A PREROUTING -s 10.244.1.78/32 -p tcp -j DNAT --to-destination 10.0.0.1:1
               nat -A PREROUTING -p tcp -j DNAT --to-destination 10.244.1.5:80""",
            only="10.244.1.76/30",
        )
        assert found == {"10.244.1.76/31, 10.244.1.79": ["10.244.1.5:80"], "10.244.1.78": ["10.0.0.1:1"]}

    @pytest.mark.parametrize(
        "match",
        [
            "-m iprange --src-range 10.244.1.77-10.244.1.78",
            "-m conntrack --ctorigsrc 10.244.1.77 -s 10.244.1.0/24",
            "! -s 10.244.1.76/32 -m iprange ! --src-range 10.244.1.78-10.244.1.79",
        ],
    )
    def test_other_matches_split_by_source_as_well(self, match: str) -> None:
        table, hook = "mangle", "PREROUTING"
        found = told(f"{table} -A {hook} {match} -j DROP", only="10.244.1.76/31")
        assert found == {"10.244.1.76": ["untranslated"], "10.244.1.77": ["dropped"]}

    def test_interfaces_split_too(self) -> None:
        clients = (ClientSet(addresses=addresses(POD), interfaces=frozenset({"caliA", "caliB", "eth0"})),)
        found = leaves("mangle -A PREROUTING -i cali+ -j DROP", clients=clients)
        assert {(leaf.clients.interfaces, leaf.fate.disposition.value) for leaf in found} == {
            (frozenset({"caliA", "caliB"}), "dropped"),
            (frozenset({"eth0"}), "untranslated"),
        }

    def test_without_known_interfaces_it_cannot_be_told(self) -> None:
        clients = (ClientSet(addresses=addresses(POD)),)
        assert told("mangle -A PREROUTING -i eth0 -j DROP", clients=clients) == {POD: ["dropped", "untranslated"]}
        # But for lo: by that no packet comes from elsewhere.
        assert told("mangle -A PREROUTING -i lo -j DROP", clients=clients) == {POD: ["untranslated"]}
        assert told("mangle -A PREROUTING ! -i lo -j DROP", clients=clients) == {POD: ["dropped"]}


class TestInterfaces:
    def test_the_way_out_is_the_routes(self) -> None:
        assert matched("-o flannel.1", hook="FORWARD", destination="10.244.2.5") == "yes"
        assert matched("-o eth0", hook="FORWARD") == "yes"
        assert matched("! -o eth0", hook="FORWARD") == "no"
        assert matched("-o cni0", hook="FORWARD") == "no"

    def test_without_recorded_routes_the_way_out_cannot_be_told(self) -> None:
        network = node_network(Family.IPV4, replace(HOST, routes=None), NODE, ())
        assert matched("-o eth0", hook="FORWARD", network=network) == "?"
        assert matched("-o lo", hook="FORWARD", network=network) == "?"

    def test_an_unknown_way_in_does_not_hide_that_the_way_out_differs(self) -> None:
        clients = (ClientSet(addresses=addresses(POD)),)
        for match in ("! -i lo -o cni0", "-i eth0 -o cni0"):
            assert told(f"filter -A FORWARD {match} -j DROP", clients=clients) == {POD: ["untranslated"]}

    @pytest.mark.parametrize(
        ("match", "answer"), [("-i eth0", "no"), ("! -i eth0", "yes"), ("! -i lo", "yes"), ("! -i eth0 -o cni0", "no")]
    )
    def test_what_is_sent_has_no_way_in(self, match: str, answer: str) -> None:
        before = "mangle -A OUTPUT -j USER"
        assert matched(match, hook="USER", before=before, position=Position.NODE) == answer

    @pytest.mark.parametrize(
        ("match", "answer"), [("-i cni0", "?"), ("! -i cni0", "?"), ("! -i eth0", "yes"), ("-i eth0", "no")]
    )
    def test_after_forwarding_the_way_in_is_known_only_since_kernel_5_7(self, match: str, answer: str) -> None:
        assert matched(match, hook="USER", before="mangle -A POSTROUTING -j USER") == answer

    @pytest.mark.parametrize(("match", "answer"), [("-o eth0", "no"), ("! -o eth0", "yes")])
    @pytest.mark.parametrize("hook", ["PREROUTING", "INPUT"])
    def test_what_is_received_has_no_way_out(self, hook: str, match: str, answer: str) -> None:
        before = f"mangle -A {hook} -j USER"
        assert matched(match, hook="USER", before=before, destination=NODE_IP) == answer

    def test_a_listing_that_hides_interfaces_makes_deciding_rules_unclear(self) -> None:
        lines = "filter -A FORWARD -d 10.96.0.10/32 -j DROP"
        assert one(lines, hides_interfaces=True) == ["dropped", "untranslated"]
        # kube-proxy's own rules have none, and a rule that only counts decides nothing.
        assert one("filter -A FORWARD -j KUBE-FORWARD\nfilter -A KUBE-FORWARD -j DROP", hides_interfaces=True) == [
            "dropped"
        ]
        assert one("filter -A FORWARD -j LOG\nfilter -A FORWARD", hides_interfaces=True) == ["untranslated"]


def test_words_that_the_grammar_did_not_understand_make_a_rule_unclear() -> None:
    assert matched("stray") == "?"
    assert matched("-d 10.96.0.11/32 stray") == "no"


def test_numbers_and_masks() -> None:
    assert (read_number("0x10"), read_number("16"), read_number("x")) == (16, 16, None)
    assert read_mask("0x4000/0x4000") == (0x4000, 0x4000)
    assert read_mask("7") == (7, 0xFFFFFFFF)
    assert read_mask("7/x") is None
    assert read_ports("80") == ((80, 80),)
    assert read_ports("80:81,:5,7:") == ((80, 81), (0, 5), (7, 65535))
    assert read_ports("80,x") is None


def test_narrowing_twice_keeps_what_both_allow() -> None:
    compiled = Compiled()
    compiled.narrow(addresses("10.0.0.0/8"))
    compiled.narrow(addresses("10.1.0.0/16", "11.0.0.0/8"))
    assert compiled.sources == addresses("10.1.0.0/16")


def test_the_outside_is_a_client_of_its_own() -> None:
    assert matched("-i eth0", position=Position.EXTERNAL) == "yes"
    assert matched(f"-s {OUTSIDE}/32", position=Position.EXTERNAL) == "yes"
    assert isinstance(NETWORKS[Family.IPV4], NodeNetwork)
    assert VIP not in {str(item) for item in NETWORKS[Family.IPV4].local.networks()}


class TestOwners:
    """Only the node's own packets have an owner; which process it is no dump shows (xt_owner.c)."""

    @pytest.mark.parametrize(
        ("match", "answer"),
        [("-m owner --uid-owner 1000", "?"), ("-m owner --gid-owner 0", "?"), ("-m owner --socket-exists", "yes")],
    )
    def test_of_the_nodes_own_packets(self, match: str, answer: str) -> None:
        assert matched(match, hook="OUTPUT", position=Position.NODE, only=NODE_IP) == answer
        assert matched(_negated(match), hook="OUTPUT", position=Position.NODE, only=NODE_IP) == OPPOSITE[answer]
