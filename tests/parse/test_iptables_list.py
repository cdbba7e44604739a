"""`iptables -L` in all its forms, against what `iptables-save` prints for the same rules."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from kdiag.errors import ParseError
from kdiag.model.addresses import Family
from kdiag.model.rules import Backend, NameMatch, NetworkMatch, Option, Rule, Ruleset
from kdiag.parse.iptables_list import parse_iptables_list
from kdiag.parse.iptables_list_words import read_words
from kdiag.parse.iptables_save import parse_iptables_save

LECTURE = """\
KUBE-MARK-MASQ  all  --  10.244.1.3           anywhere             /* default/local-cluster: */
DNAT       tcp  --  anywhere             anywhere             /* default/local-cluster: */ tcp to:10.244.1.3:80
KUBE-MARK-MASQ  tcp  -- !10.244.0.0/16        10.101.67.139        /* default/local-cluster: cluster IP */ tcp dpt:http
KUBE-SVC-SDGXHD6P3SINP7QJ  tcp  --  anywhere             10.101.67.139        /* default/local-cluster: cluster IP */ tcp dpt:http
KUBE-SEP-GEKJR4UBUI5ONAYW  all  --  anywhere             anywhere             /* default/local-cluster: */
"""
LECTURE_SAVED = """\
-A X -s 10.244.1.3/32 -m comment --comment "default/local-cluster:" -j KUBE-MARK-MASQ
-A X -p tcp -m comment --comment "default/local-cluster:" -m tcp -j DNAT --to-destination 10.244.1.3:80
-A X ! -s 10.244.0.0/16 -d 10.101.67.139/32 -p tcp -m comment --comment "default/local-cluster: cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ
-A X -d 10.101.67.139/32 -p tcp -m comment --comment "default/local-cluster: cluster IP" -m tcp --dport 80 -j KUBE-SVC-SDGXHD6P3SINP7QJ
-A X -m comment --comment "default/local-cluster:" -j KUBE-SEP-GEKJR4UBUI5ONAYW
"""

SAVED = """\
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING DROP [0:0]
:KUBE-FW-IKZ6PZRZ3NN7QS5Z - [0:0]
:KUBE-POSTROUTING - [0:0]
:EMPTY - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING ! -d 224.0.0.0/4 -o eth0 -j MASQUERADE
-A KUBE-FW-IKZ6PZRZ3NN7QS5Z -m comment --comment "other traffic to default/lb-ranges will be dropped by KUBE-PROXY-FIREWALL"
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
COMMIT
"""
PLAIN = """\
Chain PREROUTING (policy ACCEPT)
target     prot opt source               destination         
KUBE-SERVICES  all  --  anywhere             anywhere             /* kubernetes service portals */

Chain POSTROUTING (policy DROP)
target     prot opt source               destination         
MASQUERADE  all  --  anywhere            !base-address.mcast.net/4 

Chain KUBE-FW-IKZ6PZRZ3NN7QS5Z (1 references)
target     prot opt source               destination         
           all  --  anywhere             anywhere             /* other traffic to default/lb-ranges will be dropped by KUBE-PROXY-FIREWALL */

Chain KUBE-POSTROUTING (1 references)
target     prot opt source               destination         
RETURN     all  --  anywhere             anywhere             mark match ! 0x4000/0x4000
MARK       all  --  anywhere             anywhere             MARK xor 0x4000
MASQUERADE  all  --  anywhere             anywhere             /* kubernetes service traffic requiring SNAT */ random-fully

Chain EMPTY (0 references)
target     prot opt source               destination         
"""  # noqa: W291
VERBOSE = """\
Chain PREROUTING (policy ACCEPT 0 packets, 0 bytes)
num   pkts bytes target     prot opt in     out     source               destination         
1     1234  5678K KUBE-SERVICES  0    --  *      *       0.0.0.0/0            0.0.0.0/0            /* kubernetes service portals */

Chain POSTROUTING (policy DROP 12M packets, 3G bytes)
num   pkts bytes target     prot opt in     out     source               destination         
1        0     0 MASQUERADE  0    --  *      eth0    0.0.0.0/0           !224.0.0.0/4         

Chain KUBE-FW-IKZ6PZRZ3NN7QS5Z (1 references)
num   pkts bytes target     prot opt in     out     source               destination         
1        0     0            0    --  *      *       0.0.0.0/0            0.0.0.0/0            /* other traffic to default/lb-ranges will be dropped by KUBE-PROXY-FIREWALL */

Chain KUBE-POSTROUTING (1 references)
num   pkts bytes target     prot opt in     out     source               destination         
1        0     0 RETURN     0    --  *      *       0.0.0.0/0            0.0.0.0/0            mark match ! 0x4000/0x4000
2        0     0 MARK       0    --  *      *       0.0.0.0/0            0.0.0.0/0            MARK xor 0x4000
3        0     0 MASQUERADE  0    --  *      *       0.0.0.0/0            0.0.0.0/0            /* kubernetes service traffic requiring SNAT */ random-fully

Chain EMPTY (0 references)
num   pkts bytes target     prot opt in     out     source               destination         
"""  # noqa: W291


def listed(text: str, family: Family = Family.IPV4, table: str = "nat") -> Ruleset:
    return parse_iptables_list(text, family=family, table=table, source="nodes/n/iptables-L.txt")


def saved(text: str, family: Family = Family.IPV4) -> Ruleset:
    return parse_iptables_save(text, family=family, source="nodes/n/iptables-save.txt")


def bare(rule: Rule, *, chain: str | None = None, interfaces: bool = True) -> Rule:
    rule = structs.replace(rule, line=0, text="", chain=rule.chain if chain is None else chain)
    return rule if interfaces else structs.replace(rule, in_interface=None, out_interface=None)


def one(line: str, family: Family = Family.IPV4) -> Rule:
    (rule,) = listed(line, family).tables["nat"].chains[""].rules
    return rule


def saved_rule(tail: str, family: Family = Family.IPV4) -> Rule:
    (rule,) = saved(f"*nat\n-A X {tail}\nCOMMIT\n", family).tables["nat"].chains["X"].rules
    return bare(rule, chain="")


def test_lines_cut_out_of_a_listing() -> None:
    ruleset = listed(LECTURE)
    assert list(ruleset.tables["nat"].chains) == [""]
    expected = saved(f"*nat\n{LECTURE_SAVED}COMMIT\n").tables["nat"].chains["X"].rules
    assert [bare(rule) for rule in ruleset.tables["nat"].chains[""].rules] == [
        bare(rule, chain="") for rule in expected
    ]
    assert ruleset.unread == ()
    assert [rule.line for rule in ruleset.tables["nat"].chains[""].rules] == [1, 2, 3, 4, 5]
    assert all(rule.unknown == () for rule in ruleset.tables["nat"].chains[""].rules)


def test_verbose_listing_is_the_saved_table() -> None:
    ruleset, expected = listed(VERBOSE), saved(SAVED)
    assert not ruleset.hides_interfaces
    assert list(ruleset.tables["nat"].chains) == list(expected.tables["nat"].chains)
    for chain, wanted in expected.tables["nat"].chains.items():
        found = ruleset.tables["nat"].chains[chain]
        assert found.policy == wanted.policy
        assert [bare(rule) for rule in found.rules] == [bare(rule) for rule in wanted.rules]
    assert ruleset.covers == frozenset(("nat",))
    assert ruleset.complete
    assert ruleset.unread == ()
    rule = ruleset.tables["nat"].chains["PREROUTING"].rules[0]
    assert rule.line == 3
    assert rule.text.startswith("KUBE-SERVICES  0    --")


def test_plain_listing_hides_interfaces_and_has_names() -> None:
    ruleset, expected = listed(PLAIN), saved(SAVED)
    assert ruleset.hides_interfaces
    for chain, wanted in expected.tables["nat"].chains.items():
        found = ruleset.tables["nat"].chains[chain]
        if chain != "POSTROUTING":
            assert [bare(rule) for rule in found.rules] == [bare(rule, interfaces=False) for rule in wanted.rules]
    (named,) = ruleset.tables["nat"].chains["POSTROUTING"].rules
    assert named.destination is None
    assert named.unknown == ("!", "-d", "base-address.mcast.net/4")


def test_numbered_listing_without_counters() -> None:
    lines = PLAIN.split("\n")
    numbered = "\n".join(
        f"num  {line}"
        if line.startswith("target")
        else line
        if line.startswith("Chain") or not line
        else f"1    {line}"
        for line in lines
    )
    plain, found = listed(PLAIN), listed(numbered)
    assert found.hides_interfaces
    for chain, wanted in plain.tables["nat"].chains.items():
        assert [bare(rule) for rule in found.tables["nat"].chains[chain].rules] == [bare(rule) for rule in wanted.rules]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ("ACCEPT     6    --  0.0.0.0/0            0.0.0.0/0", "-p tcp -j ACCEPT"),
        ("ACCEPT    !tcp  --  0.0.0.0/0            0.0.0.0/0", "! -p tcp -j ACCEPT"),
        ("ACCEPT     all  -f  anywhere             anywhere", "-f -j ACCEPT"),
        ("ACCEPT     all  !f  anywhere             anywhere", "! -f -j ACCEPT"),
        ("ACCEPT     all  --  localhost            loopback/8", "-s 127.0.0.1 -d 127.0.0.0/8 -j ACCEPT"),
        ("ACCEPT     all  --  link-local/16        10.0.0.0/255.0.0.0", "-s 169.254.0.0/16 -d 10.0.0.0/8 -j ACCEPT"),
        ("ACCEPT     all  -- !anywhere             anywhere", "! -s 0.0.0.0/0 -j ACCEPT"),
        ("ACCEPT     all      10.0.0.1             10.0.0.2", "-s 10.0.0.1 -d 10.0.0.2 -j ACCEPT"),
        ("           all      10.0.0.1             10.0.0.2", "-s 10.0.0.1 -d 10.0.0.2"),
        ("    5  300 ACCEPT  tcp  --  any    !eth0   anywhere   anywhere", "! -o eth0 -p tcp -j ACCEPT"),
        ("    5  300 ACCEPT  tcp      lo     *   10.0.0.1   10.0.0.2", "-s 10.0.0.1 -d 10.0.0.2 -i lo -p tcp -j ACCEPT"),
        ("7   5  3M            tcp      lo     *   10.0.0.1   10.0.0.2", "-s 10.0.0.1 -d 10.0.0.2 -i lo -p tcp"),
        ("7   5  3M            0    --  cali+  *   10.0.0.1   10.0.0.2", "-s 10.0.0.1 -d 10.0.0.2 -i cali+"),
    ],
)  # fmt: skip
def test_columns(columns: str, expected: str) -> None:
    assert bare(one(columns)) == saved_rule(expected)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ("ACCEPT     udp      fd00::1/128          ::/0", "-s fd00::1/128 -p udp -j ACCEPT"),
        ("ACCEPT     udp  --  anywhere            !ip6-localhost", "! -d ::1/128 -p udp -j ACCEPT"),
        ("1  0  0 ACCEPT     58   --  *  *  !::/0  fd00:10:96::a", "! -s ::/0 -d fd00:10:96::a -p icmpv6 -j ACCEPT"),
        ("DNAT tcp -- anywhere anywhere tcp to:[fd00:10:244::2]:80", "-p tcp -m tcp -j DNAT --to-destination [fd00:10:244::2]:80"),
        ("A all -- anywhere anywhere ipv6-icmptype 135", "-m icmp6 --icmpv6-type 135 -j A"),
    ],
)  # fmt: skip
def test_ipv6_columns(columns: str, expected: str) -> None:
    assert bare(one(columns, Family.IPV6)) == saved_rule(expected, Family.IPV6)


TAILS = [
    ("tcp dpt:80", "-m tcp --dport 80"),
    ("tcp dpt:http", "-m tcp --dport 80"),
    ("tcp spts:1024:65535 dpt:!https", "-m tcp --sport 1024:65535 ! --dport 443"),
    ("udp dpts:domain:bootps", "-m udp --dport 53:67"),
    ("sctp", "-m sctp"),
    ("tcp flags:0x17/0x02", "-m tcp --tcp-flags FIN,SYN,RST,ACK SYN"),
    ("tcp flags:!FIN,SYN,RST,ACK/SYN", "-m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN"),
    ("tcp flags:0x3F/0x00", "-m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE"),
    ("tcp flags:0xzz/0x00", "-m tcp --tcp-flags 0xzz NONE"),
    ("multiport dports 80,https,8000:8100", "-m multiport --dports 80,443,8000:8100"),
    ("multiport sports  !80", "-m multiport ! --sports 80"),
    ("ADDRTYPE match dst-type LOCAL", "-m addrtype --dst-type LOCAL"),
    ("ADDRTYPE match src-type !LOCAL dst-type UNICAST limit-in",
     "-m addrtype ! --src-type LOCAL --dst-type UNICAST --limit-iface-in"),
    ("ctstate NEW", "-m conntrack --ctstate NEW"),
    ("! ctstate RELATED,ESTABLISHED,DNAT", "-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT"),
    ("ctstate DNAT ! ctorigdst 10.0.0.1 ctdir ORIGINAL",
     "-m conntrack --ctstate DNAT ! --ctorigdst 10.0.0.1 --ctdir ORIGINAL"),
    ("state NEW,RELATED", "-m state --state NEW,RELATED"),
    ("state !INVALID", "-m state ! --state INVALID"),
    ("statistic mode random probability 0.33333333349", "-m statistic --mode random --probability 0.33333333349"),
    ("statistic mode random ! probability 0.5", "-m statistic --mode random ! --probability 0.5"),
    ("statistic mode nth every 3 packet 1", "-m statistic --mode nth --every 3 --packet 1"),
    ("recent: CHECK seconds: 10800 reap name: KUBE-SEP-X side: source mask: 255.255.255.255",
     "-m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-X --mask 255.255.255.255 --rsource"),
    ("recent: SET name: L side: dest mask: 255.255.255.255", "-m recent --set --name L --mask 255.255.255.255 --rdest"),
    ("! recent: UPDATE seconds: 60 hit_count: 5 TTL-Match name: L",
     "-m recent ! --update --seconds 60 --hitcount 5 --rttl --name L"),
    ("mark match 0x4000/0x4000", "-m mark --mark 0x4000/0x4000"),
    ("MARK match ! 0x1", "-m mark ! --mark 0x1"),
    ("connmark match  0x80/0x80", "-m connmark --mark 0x80/0x80"),
    ("CONNMARK match ! 0x80", "-m connmark ! --mark 0x80"),
    ("PHYSDEV match ! --physdev-is-in", "-m physdev ! --physdev-is-in"),
    ("PHYSDEV match --physdev-in veth1 --physdev-is-bridged", "-m physdev --physdev-in veth1 --physdev-is-bridged"),
    ("match-set KUBE-CLUSTER-IP dst,dst", "-m set --match-set KUBE-CLUSTER-IP dst,dst"),
    ("! match-set a src return-nomatch ! update-counters packets-eq 3",
     "-m set ! --match-set a src --return-nomatch ! --update-counters --packets-eq 3"),
    ("match-set a src match-set b dst", "-m set --match-set a src -m set --match-set b dst"),
    ("limit: avg 5/min burst 5", "-m limit --limit 5/min"),
    ("limit: avg 1/sec burst 10", "-m limit --limit 1/sec --limit-burst 10"),
    ("limit: avg 1/sec", "-m limit --limit 1/sec"),
    ("limit: up to 10/sec burst 5 mode srcip htable-expire 10000",
     "-m hashlimit --hashlimit-upto 10/sec --hashlimit-mode srcip --hashlimit-htable-expire 10000"),
    ("limit: above 10/sec burst 7", "-m hashlimit --hashlimit-above 10/sec --hashlimit-burst 7"),
    ("nfacct-name  localhost_nps_accepted_pkts", "-m nfacct --nfacct-name  localhost_nps_accepted_pkts"),
    ("icmptype 8", "-m icmp --icmp-type 8"),
    ("icmptype 3 code 4", "-m icmp --icmp-type 3/4"),
    ("icmp !echo-request", "-m icmp ! --icmp-type echo-request"),
    ("owner UID match 1337", "-m owner --uid-owner 1337"),
    ("! owner GID match 1337", "-m owner ! --gid-owner 1337"),
    ("owner socket exists", "-m owner --socket-exists"),
    ("source IP range 10.0.0.1-10.0.0.9", "-m iprange --src-range 10.0.0.1-10.0.0.9"),
    ("destination IP range ! 10.0.0.1-10.0.0.9", "-m iprange ! --dst-range 10.0.0.1-10.0.0.9"),
    ("length 0:500", "-m length --length 0:500"),
    ("MAC ! 0a:00:00:00:00:01", "-m mac ! --mac-source 0a:00:00:00:00:01"),
    ("PKTTYPE = multicast", "-m pkttype --pkt-type multicast"),
    ("PKTTYPE != multicast", "-m pkttype ! --pkt-type multicast"),
    ("rpfilter validmark invert", "-m rpfilter --validmark --invert"),
    ("socket --transparent", "-m socket --transparent"),
    ("policy match dir in pol none", "-m policy --dir in --pol none"),
    ("policy match dir out pol ipsec strict proto !esp mode tunnel",
     "-m policy --dir out --pol ipsec --strict ! --proto esp --mode tunnel"),
    ("tcpmss match 1:500", "-m tcpmss --mss 1:500"),
    ("DSCP match 0x2e", "-m dscp --dscp 0x2e"),
]  # fmt: skip


@pytest.mark.parametrize(("tail", "expected"), TAILS)
def test_matches(tail: str, expected: str) -> None:
    rule = one(f"ACCEPT     all  --  anywhere             anywhere             {tail}")
    assert bare(rule) == saved_rule(f"{expected} -j ACCEPT")


TARGETS = [
    ("DNAT", "to:10.244.1.3:80 random persistent", "--to-destination 10.244.1.3:80 --random --persistent"),
    ("SNAT", "to:192.168.56.11-192.168.56.12 random-fully", "--to-source 192.168.56.11-192.168.56.12 --random-fully"),
    ("MASQUERADE", "masq ports: 1024-31000 random", "--to-ports 1024-31000 --random"),
    ("MASQUERADE", "random-fully", "--random-fully"),
    ("REDIRECT", "redir ports 15001", "--to-ports 15001"),
    ("REJECT", "reject-with icmp-port-unreachable", "--reject-with icmp-port-unreachable"),
    ("MARK", "MARK xset 0x4000/0x6000", "--set-xmark 0x4000/0x6000"),
    ("MARK", "MARK or 0x4000", "--set-xmark 0x4000/0x4000"),
    ("MARK", "MARK xor 0x4000", "--set-xmark 0x4000/0x0"),
    ("MARK", "MARK and 0xffffbfff", "--set-xmark 0x0/0x4000"),
    ("MARK", "MARK set 0x1", "--set-xmark 0x1/0xffffffff"),
    ("CONNMARK", "CONNMARK set 0x80", "--set-xmark 0x80/0xffffffff"),
    ("CONNMARK", "CONNMARK save", "--save-mark --nfmask 0xffffffff --ctmask 0xffffffff"),
    ("CONNMARK", "CONNMARK restore mask 0xff", "--restore-mark --nfmask 0xff --ctmask 0xff"),
    ("CONNMARK", "CONNMARK save nfmask 0xf ctmask ~0xff", "--save-mark --nfmask 0xf --ctmask 0xff"),
    ("LOG", "LOG flags 0 level 4", ""),
    ("LOG", 'LOG flags 3 level 6 prefix "dropped: "', '--log-prefix "dropped: " --log-level 6 --log-tcp-sequence --log-tcp-options'),
    ("LOG", "LOG level info uid prefix `old '", '--log-prefix "old " --log-level 6 --log-uid'),
    ("LOG", 'LOG level warning prefix "x"', "--log-prefix x"),
    ("LOG", "LOG flags 0 level 5", "--log-level 5"),
    ("CT", "CT notrack", "--notrack"),
    ("CT", "CT zone 1", "--zone 1"),
    ("SET", "add-set bad src,dst", "--add-set bad src,dst"),
    ("TPROXY", "TPROXY redirect 127.0.0.1:15006 mark 0x539/0xffffffff",
     "--on-port 15006 --on-ip 127.0.0.1 --tproxy-mark 0x539/0xffffffff"),
    ("TPROXY", "TPROXY redirect 127.0.0.1:15006", "--on-port 15006 --on-ip 127.0.0.1"),
    ("TCPMSS", "TCPMSS clamp to PMTU", "--clamp-mss-to-pmtu"),
    ("TCPMSS", "TCPMSS set 1400", "--set-mss 1400"),
    ("CHECKSUM", "CHECKSUM fill", "--checksum-fill"),
    ("NFQUEUE", "NFQUEUE num 0 bypass", "--queue-num 0 --queue-bypass"),
    ("NFQUEUE", "NFQUEUE balance 0:3", "--queue-balance 0:3"),
    ("NETMAP", "to:10.0.0.0/8", "--to 10.0.0.0/8"),
    ("RETURN", "", ""),
]  # fmt: skip


@pytest.mark.parametrize(("target", "tail", "expected"), TARGETS)
def test_targets(target: str, tail: str, expected: str) -> None:
    rule = one(f"{target}  tcp  --  anywhere  anywhere  /* c */ tcp dpt:80 {tail}")
    assert bare(rule) == saved_rule(f'-p tcp -m comment --comment "c" -m tcp --dport 80 -j {target} {expected}')


def test_goto() -> None:
    assert bare(one("cali-to-host  all  --  anywhere  anywhere  [goto]  /* x */ mark match 0x1")) == saved_rule(
        "-m comment --comment x -m mark --mark 0x1 -g cali-to-host"
    )


@pytest.mark.parametrize(
    ("tail", "unknown"),
    [
        ("tcp dpt:nosuchname", ("--dport", "nosuchname")),
        ("tcp spt:!nosuchname dpt:80", ("!", "--sport", "nosuchname")),
        ("multiport dports 80,nosuchname", ("--dports", "80,nosuchname")),
        ("multiport dports !nosuchname", ("!", "--dports", "nosuchname")),
        ("multiport dports", ("multiport", "dports")),
        ("! tcp", ("!",)),
        ("strange words", ("strange", "words")),
        ("ADDRTYPE dst-type LOCAL", ("ADDRTYPE", "dst-type", "LOCAL")),
        ("statistic mode other x", ("statistic", "mode", "other", "x")),
        ("statistic random", ("statistic", "random")),
        ("recent: TOUCH", ("recent:", "TOUCH")),
        ("mark match", ("mark", "match")),
        ("match-set a", ("match-set", "a")),
        ("PHYSDEV in", ("PHYSDEV", "in")),
        ("! limit: avg 1/sec", ("!",)),
        ("limit: some", ("limit:", "some")),
        ("icmptype", ("icmptype",)),
        ("owner of", ("owner", "of")),
        ("PKTTYPE multicast", ("PKTTYPE", "multicast")),
        ("! rpfilter", ("!",)),
        ("policy match dir in", ("policy", "match", "dir", "in")),
        ("policy match", ("policy", "match")),
        ("length", ("length",)),
        ("source address", ("source", "address")),
        ("!", ("!",)),
        ("[unsupported revision]", ("[unsupported", "revision]")),
        ("/* never closed", ("/*", "never", "closed")),
    ],
)
def test_words_that_are_not_understood(tail: str, unknown: tuple[str, ...]) -> None:
    assert one(f"ACCEPT  tcp  --  anywhere  anywhere  {tail}").unknown == unknown


@pytest.mark.parametrize(
    ("target", "tail", "unknown"),
    [
        ("DNAT", "to:", ("to:",)),
        ("DNAT", "[8 bytes of unknown target data]", ("[8", "bytes", "of", "unknown", "target", "data]")),
        ("MASQUERADE", "ports: 5", ("ports:", "5")),
        ("REJECT", "reject-with", ("reject-with",)),
        ("MARK", "MARK twist 0x1", ("MARK", "twist", "0x1")),
        ("MARK", "MARK set one", ("MARK", "set", "one")),
        ("MARK", "MARK xset 0x1/", ("MARK", "xset", "0x1/")),
        ("MARK", "mark twist", ("mark", "twist")),
        ("LOG", "level 4", ("level", "4")),
        ("LOG", 'LOG prefix "open', ()),
        ("LOG", "LOG strange", ("strange",)),
        ("CT", "CT strange", ("CT", "strange")),
        ("CT", "strange", ("strange",)),
        ("SET", "add-set x", ("add-set", "x")),
        ("TPROXY", "TPROXY redirect nowhere", ("TPROXY", "redirect", "nowhere")),
        ("TPROXY", "TPROXY", ("TPROXY",)),
        ("TCPMSS", "TCPMSS strange", ("TCPMSS", "strange")),
        ("CHECKSUM", "CHECKSUM", ("CHECKSUM",)),
        ("NFQUEUE", "NFQUEUE", ("NFQUEUE",)),
        ("NFQUEUE", "strange", ("strange",)),
    ],
)
def test_target_words_that_are_not_understood(target: str, tail: str, unknown: tuple[str, ...]) -> None:
    assert one(f"{target}  all  --  anywhere  anywhere  {tail}").unknown == unknown


def test_known_words_behind_unknown_ones_are_read() -> None:
    rule = one("ACCEPT  tcp  --  anywhere  anywhere  strange tcp dpt:80")
    assert rule.unknown == ("strange",)
    assert rule.matches == (Option(module="tcp", name="dport", values=("80",)),)


@pytest.mark.parametrize(
    ("tail", "comment"),
    [
        ("/* plain */ tcp dpt:80", "plain"),
        ("/* tcp dpt:81 */ tcp dpt:80", "tcp dpt:81"),
        ("/* a */ b */ tcp dpt:80", "a */ b"),
        ("/* a */ tcp dpt:81 */ tcp dpt:80", "a */ tcp dpt:81"),
        ("/* glued*/ */ tcp dpt:80", "glued*/"),
        ("/*  */ tcp dpt:80", ""),
        ("/*   blanks   */ tcp dpt:80", "  blanks  "),
        ("tcp dpt:80 /* behind */", "behind"),
        ("/* one */ tcp dpt:80 /* two */", "one; two"),
        ("/* one */ /* two */ tcp dpt:80", "one; two"),
    ],
)
def test_comments(tail: str, comment: str) -> None:
    rule = one(f"ACCEPT  tcp  --  anywhere  anywhere  {tail}")
    assert rule.comment == comment
    assert rule.matches == (Option(module="tcp", name="dport", values=("80",)),)
    assert rule.unknown == (("/*",) if tail.startswith("/* one */ tcp") else ())


def test_comment_that_can_be_read_in_two_ways_is_not_decided() -> None:
    rule = one("ACCEPT  tcp  --  anywhere  anywhere  /* a */ tcp dpt:81 /* b */ tcp dpt:80")
    assert rule.unknown == ("/*",)


def test_many_comments_are_no_trouble() -> None:
    tail = read_words("/* a */ " * 200, "ACCEPT")
    assert tail.unknown
    assert tail.comment is not None
    assert tail.comment.startswith("a")


def test_host_name_leaves_its_match_unknown() -> None:
    rule = one("KUBE-MARK-MASQ  all  --  node01  10.0.0.1  /* default/x */")
    assert rule.source is None
    assert rule.destination == NetworkMatch(networks=(ipaddress.ip_network("10.0.0.1/32"),))
    assert rule.unknown == ("-s", "node01")
    assert rule.comment == "default/x"
    assert one("A  !all  --  anywhere  !node01").unknown == ("!", "-p", "all", "!", "-d", "node01")


def test_interfaces() -> None:
    rule = one("  0  0 ACCEPT  all  --  !lo  cali+  0.0.0.0/0  0.0.0.0/0")
    assert rule.in_interface == NameMatch(name="lo", negated=True)
    assert rule.out_interface == NameMatch(name="cali+")


def test_other_lines() -> None:
    text = (
        "# Warning: iptables-legacy tables present, use iptables-legacy to see them\n"
        "# a remark\n"
        "Chain INPUT (policy ACCEPT)\n"
        "target     prot opt source               destination\n"
        "noise\n"
        "one two three --\n"
        "a b c -- anywhere anywhere\n"
        "ACCEPT ?? -- anywhere anywhere\n"
        "a b 10.0.0.1 10.0.0.2\n"
        "Chain INPUT (policy DROP)\n"
        "ACCEPT     all  --  anywhere             anywhere\n"
        "# Table `nat' is incompatible, use 'nft' tool.\n"
    )
    ruleset = listed(text, table="filter")
    assert ruleset.backend is Backend.NFT
    assert ruleset.tables["filter"].chains["INPUT"].policy == "ACCEPT"
    assert [(unread.line, unread.table, unread.chain) for unread in ruleset.unread] == [
        (5, "filter", "INPUT"),
        (6, "filter", "INPUT"),
        (7, "filter", "INPUT"),
        (8, "filter", "INPUT"),
        (10, "filter", "INPUT"),
        (12, "nat", "INPUT"),
    ]
    # Line 9 has the columns of ip6tables before 1.8.9; the copy of the chain is not read.
    assert [rule.line for rule in ruleset.tables["filter"].chains["INPUT"].rules] == [9]


def test_empty_text_is_an_empty_table() -> None:
    ruleset = parse_iptables_list("\n", family=Family.IPV4, table="nat", backend=Backend.LEGACY, source="s")
    assert ruleset.tables["nat"].chains == {}
    assert ruleset.backend is Backend.LEGACY


@pytest.mark.parametrize(
    "text",
    [
        "iptables v1.8.9 (legacy): can't initialize iptables table `nat': Permission denied (you must be root)\n",
        "bash: iptables: command not found",
        "\x00\x01",
    ],
)
def test_text_that_is_no_listing_is_refused(text: str) -> None:
    with pytest.raises(ParseError) as caught:
        listed(text)
    assert caught.value.line == 1
    assert "iptables -L" in caught.value.hint


@given(
    st.lists(
        st.one_of(
            st.text(max_size=30),
            st.sampled_from([*LECTURE.split("\n"), *VERBOSE.split("\n")]),
            st.tuples(
                st.sampled_from(["DNAT tcp -- anywhere anywhere ", "1 0 0 LOG 0 -- * * ::/0 ::/0 ", "A tcp 1.1.1.1 ::/0 "]),
                st.sampled_from([*(tail for tail, _ in TAILS), *(tail for _, tail, _ in TARGETS)]),
                st.integers(min_value=0, max_value=40),
            ).map(lambda parts: parts[0] + parts[1][: parts[2]]),
        ),
        max_size=10,
    ).map("\n".join)
)  # fmt: skip
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        ruleset = listed(text)
    except ParseError:
        return
    assert all(rule.table == "nat" for chain in ruleset.tables["nat"].chains.values() for rule in chain.rules)


@given(st.sampled_from([tail for tail, _ in TAILS]), st.integers(min_value=1, max_value=4))
def test_spacing_never_matters_outside_comments(tail: str, blanks: int) -> None:
    spaced = tail.replace(" ", " " * blanks)
    assert read_words(spaced, "ACCEPT") == read_words(tail, "ACCEPT")


def test_verbose_listing_without_line_numbers() -> None:
    text = (
        "Chain KUBE-SVC-A (1 references)\n"
        " pkts bytes target     prot opt in     out     source               destination         \n"
        "    0     0 KUBE-SEP-A  6    --  *      *       0.0.0.0/0            10.96.0.1            tcp dpt:80\n"
    )
    ruleset = parse_iptables_list(text, family=Family.IPV4, table="nat", source="s")
    assert ruleset.unread == ()
    assert [rule.target for rule in ruleset.tables["nat"].chains["KUBE-SVC-A"].rules] == ["KUBE-SEP-A"]
