"""The grammar of one rule: words, options and whose they are, and the writer as its inverse."""

from __future__ import annotations

import ipaddress
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from kdiag.errors import ParseError
from kdiag.model.addresses import Family
from kdiag.model.rules import NameMatch, NetworkMatch, Option, Rule
from kdiag.parse.iptables_format import format_rule
from kdiag.parse.iptables_options import module_of, protocol_name
from kdiag.parse.iptables_rule import parse_rule, rule_network, split_words, without_rule_counters
from kdiag.parse.iptables_shortcut import quick_rule


def read(text: str, *, six: bool = False) -> Rule:
    """The rule behind `-A CHAIN`, by the grammar."""
    return parse_rule(text, split_words(text), six=six, table="nat", chain="C", line=1)


def bare(rule: Rule) -> Rule:
    return structs.replace(rule, text="", line=0)


def networks(*texts: str, negated: bool = False) -> NetworkMatch:
    return NetworkMatch(networks=tuple(ipaddress.ip_network(text) for text in texts), negated=negated)


def option(module: str, name: str, *values: str, negated: bool = False) -> Option:
    return Option(module=module, name=name, values=values, negated=negated)


def test_service_rule_in_full() -> None:
    rule = read(
        '! -s 10.244.0.0/16 -d 10.101.67.139/32 -i eth0 ! -o cali+ -p tcp -m comment --comment "default/x cluster IP" '
        "-m tcp --dport 80 -j KUBE-MARK-MASQ"
    )
    assert rule.source == networks("10.244.0.0/16", negated=True)
    assert rule.destination == networks("10.101.67.139/32")
    assert rule.in_interface == NameMatch(name="eth0")
    assert rule.out_interface == NameMatch(name="cali+", negated=True)
    assert rule.protocol == NameMatch(name="tcp")
    assert rule.modules == ("comment", "tcp")
    assert rule.matches == (option("tcp", "dport", "80"),)
    assert rule.comment == "default/x cluster IP"
    assert (rule.target, rule.goto, rule.target_options, rule.unknown) == ("KUBE-MARK-MASQ", False, (), ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-m tcp --dport 80", (option("tcp", "dport", "80"),)),
        ("-m tcp ! --dport 80", (option("tcp", "dport", "80", negated=True),)),
        ("-m tcp --dport ! 80", (option("tcp", "dport", "80", negated=True),)),
        ("-m tcp --dport !80", (option("tcp", "dport", "80", negated=True),)),
        ("-p tcp --dport 80", (option("tcp", "dport", "80"),)),
        ("-p tcp -m comment --comment x --dport 80", (option("tcp", "dport", "80"),)),
        ("-p tcp -m multiport --dports 80,443", (option("multiport", "dports", "80,443"),)),
        ("-p tcp -m multiport --dports 80 --dport 81", (option("multiport", "dports", "80"), option("tcp", "dport", "81"))),
        ("-p icmpv6 --icmpv6-type 135", (option("icmp6", "icmpv6-type", "135"),)),
        ("-m tcp --tcp-flags FIN,SYN SYN", (option("tcp", "tcp-flags", "FIN,SYN", "SYN"),)),
        ("-m mark ! --mark 0x4000/0x4000", (option("mark", "mark", "0x4000/0x4000", negated=True),)),
        ("-m connmark --mark 0x1", (option("connmark", "mark", "0x1"),)),
        ("-m nfacct --nfacct-name  drops", (option("nfacct", "nfacct-name", "drops"),)),
        ("-m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL",
         (option("physdev", "physdev-is-in", negated=True), option("addrtype", "src-type", "LOCAL", negated=True))),
        ("-m set --match-set a src -m set ! --match-set b dst",
         (option("set", "match-set", "a", "src"), option("set", "match-set", "b", "dst", negated=True))),
        ("-m recent --set --name L --rsource", (option("recent", "set"), option("recent", "name", "L"),
                                                option("recent", "rsource"))),
        ("-m recent --name -odd- --rsource", (option("recent", "name", "-odd-"), option("recent", "rsource"))),
        ("-m novel --thing 1 2", (option("novel", "thing", "1", "2"),)),
        ("-m novel -m tcp --thing 1", (option("novel", "thing", "1"),)),
        ("-m tcp --thing 1", (option("tcp", "thing", "1"),)),
        ("-p sctp --thing 1", (option("sctp", "thing", "1"),)),
        ("--thing 1", (option("", "thing", "1"),)),
        ("-m novel --shift -5 --flag", (option("novel", "shift", "-5"), option("novel", "flag"))),
        ("-f", (option("", "fragment"),)),
        ("! -f", (option("", "fragment", negated=True),)),
        ("--fragment", (option("", "fragment"),)),
        ('-m string --string "! -j DROP"', (option("string", "string", "! -j DROP"),)),
    ],
)  # fmt: skip
def test_match_options(text: str, expected: tuple[Option, ...]) -> None:
    rule = read(text)
    assert rule.matches == expected
    assert rule.unknown == ()
    assert rule.target_options == ()


@pytest.mark.parametrize(
    ("text", "target", "expected"),
    [
        ("-j DNAT --to-destination 10.0.0.1:80", "DNAT", (option("DNAT", "to-destination", "10.0.0.1:80"),)),
        ("-j MASQUERADE --random-fully", "MASQUERADE", (option("MASQUERADE", "random-fully"),)),
        ("-j MARK --set-xmark 0x4000/0x0", "MARK", (option("MARK", "set-xmark", "0x4000/0x0"),)),
        ('-j LOG --log-prefix "-A ! x " --log-level 5', "LOG",
         (option("LOG", "log-prefix", "-A ! x "), option("LOG", "log-level", "5"))),
        ('-j DNAT -m comment --comment "late" --to-destination 10.0.0.1', "DNAT",
         (option("DNAT", "to-destination", "10.0.0.1"),)),
        ("-j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff", "CONNMARK",
         (option("CONNMARK", "save-mark"), option("CONNMARK", "nfmask", "0xff"), option("CONNMARK", "ctmask", "0xff"))),
        ("-g CHAIN", "CHAIN", ()),
        ("--jump ACCEPT", "ACCEPT", ()),
    ],
)  # fmt: skip
def test_target_options(text: str, target: str, expected: tuple[Option, ...]) -> None:
    rule = read(text)
    assert rule.target == target
    assert rule.target_options == expected
    assert rule.goto is text.startswith("-g")
    assert rule.matches == ()
    assert rule.unknown == ()


@pytest.mark.parametrize(
    ("text", "comment"),
    [
        ('--comment "-foo ! bar"', "-foo ! bar"),
        ("--comment -foo", "-foo"),
        (r'--comment "a \"quoted\" \\ it\'s"', 'a "quoted" \\ it\'s'),
        ('--comment ""', ""),
        ('--comment "  two  blanks "', "  two  blanks "),
        ("--comment one --comment two", "one; two"),
        ('--comment "a" -m string --string "b"', "a"),
    ],
)
def test_comment_is_one_value(text: str, comment: str) -> None:
    rule = read(f"-m comment {text} -j ACCEPT")
    assert rule.comment == comment
    assert rule.target == "ACCEPT"
    assert rule.unknown == ()


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("stray -j ACCEPT", ("stray",)),
        ("! stray", ("!", "stray")),
        ("-s node01 -j ACCEPT", ("-s", "node01")),
        ("! -d 10.0.0.0/0.0.0.255", ("!", "-d", "10.0.0.0/0.0.0.255")),
        ("-s fd00::1", ("-s", "fd00::1")),
        ("-s 10.0.0.1 -s 10.0.0.2", ("-s", "10.0.0.2")),
        ("-d 10.0.0.1 -d 10.0.0.2", ("-d", "10.0.0.2")),
        ("-p tcp -p udp", ("-p", "udp")),
        ("! -p all", ("!", "-p", "all")),
        ("-i a -i b", ("-i", "b")),
        ("-o a -o b", ("-o", "b")),
        ("-j A -j B", ("-j", "B")),
        ("! -j B", ("!", "-j", "B")),
        ("! -m tcp", ("!", "-m", "tcp")),
        ("-x", ("-x",)),
        ("! -x", ("!", "-x")),
        ("-s", ("-s",)),
        ("! -s", ("!", "-s")),
        ("-j ACCEPT !", ("!",)),
        ("! ! -s 10.0.0.1", ("!",)),
        ("! --comment x", ()),
        ("-m tcp -j DNAT [unsupported revision]", ("[unsupported revision]",)),
    ],
)
def test_words_that_have_no_place(text: str, unknown: tuple[str, ...]) -> None:
    assert read(text).unknown == unknown


def test_negated_comment_is_a_match() -> None:
    assert read("-m comment ! --comment x").matches == (option("comment", "comment", "x", negated=True),)


def test_bare_option_without_value_is_kept() -> None:
    assert read("-m comment --comment").matches == (option("comment", "comment"),)


@pytest.mark.parametrize("text", ["-s ! 10.0.0.0/8", "! -s 10.0.0.0/8", "-s !10.0.0.0/8", "-s ! 10.0.0.0/255.0.0.0"])
def test_old_and_new_negation(text: str) -> None:
    assert read(text).source == networks("10.0.0.0/8", negated=True)


def test_quoted_value_of_a_built_in_option() -> None:
    assert read('-i "eth0" -j "ACCEPT"').in_interface == NameMatch(name="eth0")


@pytest.mark.parametrize(
    "text",
    [
        "-m set --match-set a src -m set ! --match-set b dst -j DROP",
        r"""! -s 10.0.0.0/8 -o eth+ ! -p tcp -m comment --comment "it\'s -x" -m tcp ! --dport 80 -g C""",
        '-f -m physdev ! --physdev-is-in -j LOG --log-prefix "a b" --log-level 5',
        "-p tcp --dport 80 -j ACCEPT",
        "-m mark --mark 0x1",
    ],
)
def test_written_as_iptables_save_writes(text: str) -> None:
    assert format_rule(read(text)) == f"-A C {text}"


def test_words_without_a_place_are_written_first() -> None:
    assert format_rule(read("-d node01 --comment x -j DROP")) == '-A C "-d" "node01" --comment "x" -j DROP'


def test_comma_list_and_missing_mask() -> None:
    assert read("-s 10.0.0.1,10.1.0.0/16").source == networks("10.0.0.1/32", "10.1.0.0/16")
    assert read("-d fd00::1", six=True).destination == networks("fd00::1/128")


def test_counters_of_a_verbose_rule_are_no_words() -> None:
    rule = read("-s 10.0.0.1/32 -c 12 345 -j ACCEPT")
    assert (rule.target, rule.unknown) == ("ACCEPT", ())
    assert without_rule_counters('-A C -c 1 2 -m comment --comment "x -c 3 4 y" -j A') == (
        '-A C -m comment --comment "x -c 3 4 y" -j A'
    )
    assert without_rule_counters("-A C -c 1 2") == "-A C"
    assert without_rule_counters("-A C") == "-A C"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("10.0.0.1/255.255.255.255", "10.0.0.1/32"),
        ("0.0.0.0/0.0.0.0", "0.0.0.0/0"),
        ("10.0.0.0/0.255.0.0", None),
        ("10.0.0.0/mask", None),
        ("10.0.0.0/33", None),
        ("fd00::/8", None),
        ("host", None),
    ],
)
def test_networks(text: str, expected: str | None) -> None:
    found = rule_network(text, Family.IPV4)
    assert found == (ipaddress.ip_network(expected) if expected else None)


def test_written_out_ipv6_mask() -> None:
    assert rule_network("fd00::/ffff::", Family.IPV6) == ipaddress.ip_network("fd00::/16")
    assert rule_network("fd00::/ffff:0:ffff::", Family.IPV6) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("6", "tcp"), ("TCP", "tcp"), ("006", "tcp"), ("58", "ipv6-icmp"), ("icmpv6", "ipv6-icmp"), ("all", None),
     ("0", None), ("254", "254"), ("²", "²")],
)  # fmt: skip
def test_protocol_names(text: str, expected: str | None) -> None:
    assert protocol_name(text) == expected


def test_protocol_of_a_rule() -> None:
    assert read("-p 17").protocol == NameMatch(name="udp")
    assert read("! -p 6").protocol == NameMatch(name="tcp", negated=True)
    assert read("-p all -j A").protocol is None
    assert read("-p all -j A").unknown == ()


def test_option_owner_falls_back_to_the_target() -> None:
    assert module_of("to-destination", ("comment",), "tcp", "DNAT") is None
    assert module_of("dport", ("tcp", "comment"), None, None) == "tcp"


@pytest.mark.parametrize("text", ['-m comment --comment "open', 'a "b" "c', '"a\\"', 'a "b\\" c'])
def test_open_quote(text: str) -> None:
    with pytest.raises(ParseError, match="quote"):
        split_words(text)


def test_glued_quotes_are_words_of_their_own() -> None:
    assert split_words('a"b c"d "e"') == ["a", '"b c', "d", '"e']
    assert split_words('"" x') == ['"', "x"]


ADDRESS = st.sampled_from(["10.96.0.1/32", "10.0.0.0/8", "fd00::/64", "10.0.0.0/255.0.0.0", "x.y", "0.0.0.0/0"])
CHAIN = st.sampled_from(["KUBE-SVC-TCOU7JCQXEZGVUNU", "KUBE-MARK-MASQ", "DNAT", "ACCEPT"])
WORD = st.text(alphabet=string.ascii_letters + string.digits + "-!/.:,\\'", min_size=1, max_size=8)
TEXT = st.text(alphabet=string.ascii_letters + " -!/*\"'\\é\t,.:", max_size=20)
COMMENT = TEXT.map(lambda value: '--comment "' + value.replace("\\", "\\\\").replace('"', '\\"') + '"')


def block(module: str, options: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(options, max_size=3).map(lambda chosen: " ".join([f"-m {module}", *chosen]))


# An option stands behind what it belongs to, module or protocol: iptables prints it so and takes it only so.
PIECE = st.one_of(
    ADDRESS.map(lambda value: f"-s {value}"),
    ADDRESS.map(lambda value: f"! -d {value}"),
    st.sampled_from(["-f", "! -f", "-i eth0", "! -o cali+", "!", "-c 1 2", "-x", "-m", "-p udp"]),
    block("tcp", st.sampled_from(["--dport 80", "! --dport 80", "--dport ! 80"])),
    block("set", st.sampled_from(["--match-set a src", "! --match-set b dst,dst"])),
    block("statistic", st.sampled_from(["--mode random", "! --probability 0.5"])),
    block("comment", COMMENT),
    block("novel", WORD.map(lambda value: f"--{value}")),
    WORD,
)
TARGET = st.one_of(
    st.just(""),
    st.builds(
        lambda flag, chain, tail: " ".join([flag, chain, *tail]),
        st.sampled_from(["-j", "-g"]),
        CHAIN,
        st.lists(st.one_of(WORD, WORD.map(lambda value: f"--{value}"), block("comment", COMMENT)), max_size=3),
    ),
)
PROTOCOL = st.sampled_from(["", "-p tcp", "-p tcp --dport 80", "! -p 17", "-p all", "-p"])
RULE_TEXT = st.builds(
    lambda head, pieces, target: " ".join([head, *pieces, target]), PROTOCOL, st.lists(PIECE, max_size=6), TARGET
)


@given(RULE_TEXT, st.booleans())
def test_reading_what_was_written_gives_the_same_rule(text: str, six: bool) -> None:
    rule = read(text, six=six)
    written = format_rule(rule)
    prefix = "-A C"
    assert written.startswith(prefix)
    assert bare(read(written[len(prefix) :], six=six)) == bare(rule)


@given(RULE_TEXT, st.integers(min_value=1, max_value=5))
def test_spacing_never_matters_outside_quotes(text: str, blanks: int) -> None:
    spaced = '"'.join(
        part if place % 2 else part.replace(" ", " " * blanks) for place, part in enumerate(text.split('"'))
    )
    if '\\"' not in text:
        assert bare(read(spaced)) == bare(read(text))


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        words = split_words(text)
    except ParseError:
        return
    rule = parse_rule(text, words, six=False, table="nat", chain="C", line=1)
    assert rule.chain == "C"


OPTIONAL_PIECES = st.tuples(
    st.sampled_from(["", "-s 10.0.0.1/32", "! -s 10.244.0.0/16", "-s fd00::/64", "-s 1/2/3"]),
    st.sampled_from(["", "-d 10.96.0.1/32", "! -d 127.0.0.0/8", "-d fd00::1/128", "-d 10.0.0.0/99"]),
    st.sampled_from(["", "-p tcp", "-p udp", "-p 6"]),
    st.sampled_from(["", '-m comment --comment "a/b cluster IP"', '-m comment --comment ""', "-m comment --comment x"]),
    st.sampled_from(["", "-m tcp", "-m tcp --dport 80", "-m udp --dport 53", "-m tcp --dport 1:2"]),
    st.sampled_from(["", "-m statistic --mode random --probability 0.50000000000"]),
    st.sampled_from(["-j KUBE-SVC-TCOU7JCQXEZGVUNU", "-j DNAT", "-j ACCEPT", ""]),
    st.sampled_from(["", "--to-destination 10.0.0.1:80", "--to-destination [fd00::1]:80"]),
)


@given(OPTIONAL_PIECES, st.booleans())
def test_the_short_cut_agrees_with_the_grammar(pieces: tuple[str, ...], six: bool) -> None:
    tail = " ".join(piece for piece in pieces if piece)
    text = f"-A C {tail}".rstrip()
    quick = quick_rule(text, six=six, table="nat", line=7)
    if quick is not None:
        assert quick == parse_rule(text, split_words(tail), six=six, table="nat", chain="C", line=7)


def test_the_short_cut_takes_the_usual_rules() -> None:
    usual = [
        '-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m comment --comment "default/kubernetes:https cluster IP" '
        "-m tcp --dport 443 -j KUBE-SVC-NPX46M4PTMTKRN6Y",
        "-A KUBE-SEP-TCOU7JCQXEZGVUNU -p tcp -m tcp -j DNAT --to-destination 10.244.1.3:80",
        "-A KUBE-SVC-TCOU7JCQXEZGVUNU -m statistic --mode random --probability 0.5 -j KUBE-SEP-TCOU7JCQXEZGVUNU",
    ]
    assert all(quick_rule(text, six=False, table="nat", line=1) is not None for text in usual)
    assert quick_rule("-A C -d fd00::1/128 -j DROP", six=False, table="nat", line=1) is None
    assert quick_rule("-A C -s fd00::1/128 -j DROP", six=False, table="nat", line=1) is None
