"""What nftables rules do: verdicts, look-ups, translations, marks, and the order of base chains."""

from __future__ import annotations

import pytest
from msgspec import structs

from kdiag.model import nft
from kdiag.model.addresses import Family
from kdiag.model.dataplane import Effect, Position
from kdiag.walk.nft_rules import NftSpace
from kdiag.walk.nft_words import key_text, place_words, rule_words, verdict_words
from tests.walk import nft_setting as n
from tests.walk.nft_setting import base, leaves, one, told
from tests.walk.setting import NODE_IP, OUTSIDE, POD, VIP, VIP6

A, B, C = "10.244.1.5", "10.244.1.6", "10.244.2.5"
NAT = {"kind": "nat", "priority": -100}
EXTERNAL, NODE = Position.EXTERNAL, Position.NODE


def nat(rules: str, more: str = "", hook: str = "prerouting") -> str:
    return base(rules, hook=hook, kind="nat", priority=-100, more=more)


# -- verdicts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "more", "expected"),
    [
        ("drop", "", ["dropped"]),
        ("reject", "", ["rejected"]),
        ("reject with tcp reset", "", ["rejected"]),
        ("accept\ndrop", "", ["untranslated"]),
        ("return\ndrop", "", ["untranslated"]),
        ("continue\ndrop", "", ["dropped"]),
        ("counter\nlog\ndrop", "", ["dropped"]),
        ("counter", "", ["untranslated"]),
        ("jump u\ndrop", "\tchain u {\n\t\treturn\n\t}", ["dropped"]),
        ("jump u\ndrop", "\tchain u {\n\t\taccept\n\t}", ["untranslated"]),
        ("jump u\ndrop", "\tchain u {\n\t}", ["dropped"]),
        ("goto u\ndrop", "\tchain u {\n\t\treturn\n\t}", ["untranslated"]),
        ("goto u\ndrop", "\tchain u {\n\t}", ["untranslated"]),
        ("jump u\ndrop", "\tchain u {\n\t\tgoto v\n\t\taccept\n\t}\n\tchain v {\n\t}", ["dropped"]),
        ("queue", "", ["unknown", "untranslated"]),
        ("tcp dport 80 xt match recent drop", "", ["dropped", "untranslated"]),
        ("xt target CLUSTERIP", "", ["unknown", "untranslated"]),
    ],
)
def test_verdicts(rules: str, more: str, expected: list[str]) -> None:
    assert one(base(rules, more=more)) == expected


def test_a_chain_that_is_not_there() -> None:
    """No kernel has such a rule; a dump that was cut together may."""
    assert one(base("jump nowhere")) == ["unknown"]


def test_policies() -> None:
    dropping = base("ip saddr 10.9.9.9 accept").replace("policy accept", "policy drop")
    (leaf,) = leaves(dropping, only=POD)
    assert leaf.fate.disposition == "dropped"
    assert leaf.passed is not None
    assert (leaf.passed.met.is_policy, leaf.passed.met.action, leaf.passed.met.foreign) == (True, "policy drop", True)
    assert leaf.passed.met.text == "chain c { type filter hook prerouting priority 0; policy drop; }"
    assert one(dropping.replace("ip saddr 10.9.9.9 accept", f"ip saddr {POD} accept")) == ["untranslated"]
    assert one(dropping.replace("ip saddr 10.9.9.9 accept", "return")) == ["dropped"]


def test_a_dormant_table_is_not_asked() -> None:
    text = base("drop")
    assert one(text) == ["dropped"]
    assert one(text.replace("table ip t {", "table ip t {\n\tflags dormant")) == ["untranslated"]


@pytest.mark.parametrize("family", ["ip6", "arp", "bridge"])
def test_tables_of_other_families_are_not_asked(family: str) -> None:
    assert one(base("drop").replace("table ip t", f"table {family} t")) == ["untranslated"]


def test_tables_that_are_read_elsewhere() -> None:
    text = base("drop").replace("table ip t", "table ip filter") + base("drop", hook="forward")
    everything = NftSpace(n.nft(text), Family.IPV4)
    rest = NftSpace(n.nft(text), Family.IPV4, frozenset({"filter"}))
    assert [item.table for item in everything.hooked()] == ["ip filter", "ip t"]
    assert [item.table for item in rest.hooked()] == ["ip t"]
    assert (everything.rule_count, rest.rule_count) == (2, 1)


# -- base chains of several tables -------------------------------------------------------------------------------------

PROXY = nat(f"ip daddr {VIP} tcp dport 80 dnat to {A}:8080").replace("table ip t", "table ip kube-proxy")


def other(rules: str, **where: object) -> str:
    return base(rules, **where).replace("table ip t", "table inet other")  # type: ignore[arg-type]


def test_tables_are_asked_by_priority() -> None:
    assert one(PROXY) == [f"{A}:8080"]
    assert one(PROXY + other(f"ip daddr {VIP} drop", priority=-150)) == ["dropped"]
    # After nat the packet has another address.
    assert one(PROXY + other(f"ip daddr {VIP} drop", priority=-90)) == [f"{A}:8080"]
    assert one(PROXY + other(f"ip daddr {A} drop", priority=-90)) == [f"dropped after {A}:8080"]
    assert one(PROXY + other("accept", priority=-150)) == [f"{A}:8080"]
    assert one(PROXY + other(f"dnat ip to {B}:1", kind="nat", priority=-150)) == [f"{B}:1"]
    # Nat is asked until one has translated.
    assert one(PROXY + other(f"dnat ip to {B}:1", kind="nat", priority=-90)) == [f"{A}:8080"]
    assert one(PROXY + other("notrack", priority=-300)) == ["untranslated"]


def test_iptables_and_nftables_rules_are_asked_together() -> None:
    assert one(PROXY, iptables=f"mangle -A PREROUTING -d {VIP} -j DROP") == ["dropped"]
    assert one(PROXY, iptables=f"filter -A FORWARD -d {A} -j DROP") == [f"dropped after {A}:8080"]


def test_whose_a_rule_is() -> None:
    for text, foreign in (
        (PROXY.replace("dnat to", "accept #").split("#")[0] + "\n\t}\n}\n", True),
        (other("drop"), True),
    ):
        (leaf,) = leaves(text, only=POD)
        assert leaf.passed is not None
        assert leaf.passed.met.foreign is foreign
    (leaf,) = leaves(
        base("goto services", more="\tchain services {\n\t\tdrop\n\t}").replace(" t {", " kube-proxy {"), only=POD
    )
    assert leaf.passed is not None
    assert leaf.passed.met.foreign is (leaf.passed.met.chain not in ("services",))


# -- look-ups ----------------------------------------------------------------------------------------------------------

CHAINS = f"""\tchain a {{
\t\tdnat to {A}:80
\t}}
\tchain b {{
\t\tdnat to {B}:80
\t}}
\tmap verdicts {{
\t\ttype ipv4_addr . inet_proto . inet_service : verdict
\t\telements = {{ {VIP} . tcp . 80 : goto a, {VIP} . udp . 53 : goto b }}
\t}}
\tmap sources {{
\t\ttype ipv4_addr : verdict
\t\tflags interval
\t\telements = {{ 10.244.1.76 : goto a, 10.244.1.78-10.244.1.79 : goto b }}
\t}}
\tmap places {{
\t\ttype ipv4_addr : ipv4_addr . inet_service
\t\telements = {{ {VIP} : {C} . 9090 }}
\t}}"""


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("ip daddr . meta l4proto . th dport vmap @verdicts\ndrop", [f"{A}:80"]),
        (f"ip daddr vmap {{ {VIP} : drop }}", ["dropped"]),
        ("ip daddr vmap { 10.0.0.1 : drop }\nreject", ["rejected"]),
        (f"ip daddr vmap {{ {VIP} : continue }}\nreject", ["rejected"]),
        (f"ip daddr vmap {{ {VIP} : return }}\nreject", ["untranslated"]),
        ("ip daddr vmap { 10.96.0.0/12 : jump a }", [f"{A}:80"]),
        # An element for any other key.
        (f"ip daddr vmap {{ {VIP} : goto a, * : drop }}", [f"{A}:80"]),
        ("ip daddr vmap { 10.0.0.1 : goto a, * : drop }", ["dropped"]),
        ("ct state vmap { established : accept, invalid : drop }\nreject", ["rejected"]),
        ("ip daddr vmap @nowhere", ["unknown", "untranslated"]),
        ("tcp sport vmap { 80 : drop }", ["unknown", "untranslated"]),
        ("udp dport vmap { 80 : drop }", ["untranslated"]),
        ("numgen random mod 2 vmap { 0 : goto a, 1 : goto b }", [f"{A}:80 0.5, {B}:80 0.5"]),
        ("numgen inc mod 2 offset 1 vmap { 1 : goto a, 2 : goto b }", [f"{A}:80 0.5, {B}:80 0.5"]),
        ("numgen random mod 4 vmap { 0-2 : goto a, 3 : goto b }", [f"{A}:80 0.75, {B}:80 0.25"]),
        # A number without an element goes on to the next rule; one that never comes is not counted.
        ("numgen random mod 4 vmap { 0 : goto a, 1 : goto b }\ndrop", [f"{A}:80 0.25, {B}:80 0.25, dropped 0.5"]),
        ("numgen random mod 2 vmap { 0 : goto a, 1 : goto b, 2 : drop }", [f"{A}:80 0.5, {B}:80 0.5"]),
        ("numgen random mod 4 vmap { 0 : goto a, * : goto b }", [f"{A}:80 0.25, {B}:80 0.75"]),
        ("numgen random mod 2 vmap @nowhere", ["unknown", "untranslated"]),
        ("jhash ip saddr mod 2 vmap { 0 : goto a, 1 : goto b }", ["unknown", "untranslated"]),
        ("dnat to ip daddr map @places", [f"{C}:9090"]),
        (f"dnat to ip daddr map {{ {VIP} : {B} }}", [f"{B}:80"]),
        (f"dnat to numgen random mod 2 map {{ 0 : {A} . 80, 1 : {C} . 8080 }}", [f"{A}:80 0.5, {C}:8080 0.5"]),
        (f"dnat to numgen random mod 2 map {{ 0 : {A}, 1 : {C} }}:81", [f"{A}:81 0.5, {C}:81 0.5"]),
        (
            f"dnat to numgen random mod 3 map {{ 0 : {A} . 80, 1 : {C} . 8080 }}\ndrop",
            [f"{A}:80 0.3333333333, {C}:8080 0.3333333333, dropped 0.3333333333"],
        ),
        ("dnat to ip daddr map @nowhere", ["unknown", "untranslated"]),
    ],
)
def test_look_ups(rules: str, expected: list[str]) -> None:
    assert one(nat(rules, more=CHAINS)) == expected


def test_a_look_up_by_source_splits_the_clients() -> None:
    found = told(nat("ip saddr vmap @sources\ndrop", more=CHAINS), only="10.244.1.76/30")
    assert found == {
        "10.244.1.76": [f"{A}:80"],
        "10.244.1.77": ["dropped"],
        "10.244.1.78/31": [f"{B}:80"],
    }
    rest = told(nat("ip saddr vmap { 10.244.1.76 : goto a, * : goto b }", more=CHAINS), only="10.244.1.76/31")
    assert rest == {"10.244.1.76": [f"{A}:80"], "10.244.1.77": [f"{B}:80"]}


def test_what_a_look_up_is_called() -> None:
    (leaf,) = leaves(nat("ip daddr . meta l4proto . th dport vmap @verdicts", more=CHAINS), only=POD)
    assert leaf.passed is not None
    step = leaf.passed.steps()[0].met
    assert (step.action, step.leads_to) == (f"map verdicts {VIP} . tcp . 80: goto a", "a")


# -- translations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (f"dnat to {A}", [f"{A}:80"]),
        (f"dnat to {A}:8080", [f"{A}:8080"]),
        ("dnat to :8080", [f"{VIP}:8080"]),
        (f"dnat to {A}-{B}", ["unknown"]),
        (f"dnat to {A}:80-90", ["unknown"]),
        ("redirect", ["10.244.1.1:80"]),
        ("redirect to :8080", ["10.244.1.1:8080"]),
        ("tproxy to 127.0.0.1:80", ["unknown", "untranslated"]),
    ],
)
def test_translations(rule: str, expected: list[str]) -> None:
    assert one(nat(f"meta l4proto tcp {rule}")) == expected


def test_the_node_s_own_packets_are_redirected_to_loopback() -> None:
    assert one(nat("meta l4proto tcp redirect to :8080", hook="output"), position=NODE) == ["127.0.0.1:8080"]


def test_translations_name_their_family() -> None:
    """In a table of both families `dnat ip to` asks for IPv4 first, `reject with icmpv6` for IPv6."""
    text = nat(f"meta l4proto tcp dnat ip to {A}:80\nmeta l4proto tcp dnat ip6 to [fd00::5]:80").replace(
        "table ip t", "table inet t"
    )
    assert one(text) == [f"{A}:80"]
    assert one(text, destination=VIP6) == ["[fd00::5]:80"]
    refused = base("reject with icmp port-unreachable").replace("table ip t", "table inet t")
    assert (one(refused), one(refused, destination=VIP6)) == (["rejected"], ["untranslated"])
    for_all = base("reject with icmpx port-unreachable").replace("table ip t", "table inet t")
    assert (one(for_all), one(for_all, destination=VIP6)) == (["rejected"], ["rejected"])
    assert one(base("reject with tcp reset"), protocol="UDP") == ["untranslated"]


def masquerading(rule: str, table: str = "kube-proxy") -> str:
    post = f"\tchain p {{\n\t\ttype nat hook postrouting priority 100; policy accept;\n\t\t{rule}\n\t}}"
    return nat(f"meta l4proto tcp dnat to {A}:80", more=post).replace("table ip t", f"table ip {table}")


@pytest.mark.parametrize(
    ("rule", "table", "expected"),
    [
        ("masquerade", "kube-proxy", [f"{A}:80 masquerade-proxy"]),
        ("masquerade", "cni", [f"{A}:80 masquerade-other"]),
        ("snat to 10.0.0.1", "cni", [f"{A}:80 masquerade-other"]),
        ("snat to 10.0.0.1-10.0.0.9", "cni", [f"{A}:80 masquerade-other"]),
        (f"ip saddr {POD} ip daddr {A} masquerade", "kube-proxy", [f"{A}:80 masquerade-proxy"]),
        ("ct status dnat masquerade", "kube-proxy", [f"{A}:80 masquerade-proxy"]),
        ("ct status snat masquerade", "kube-proxy", [f"{A}:80"]),
        ("meta mark & 0x4000 != 0 masquerade", "kube-proxy", [f"{A}:80"]),
    ],
)
def test_source_translations(rule: str, table: str, expected: list[str]) -> None:
    assert one(masquerading(rule, table)) == expected


def test_after_a_source_translation_the_source_is_not_one_address() -> None:
    late = "\tchain late {\n\t\ttype filter hook postrouting priority 200; policy accept;\n\t\tRULE\n\t}\n"
    text = masquerading("masquerade").replace("\tchain p {", late + "\tchain p {")
    assert one(text.replace("RULE", f"ip saddr {POD} drop")) == [f"{A}:80 masquerade-proxy"]
    pair = text.replace("RULE", "ip saddr . tcp dport { SOURCE . 80 } drop")
    assert one(pair.replace("SOURCE", "10.244.1.1")) == [f"{A}:80 masquerade-proxy", f"dropped after {A}:80"]
    # It is none of the node's addresses.
    assert one(pair.replace("SOURCE", POD)) == [f"{A}:80 masquerade-proxy"]
    assert one(text.replace("RULE", "ct status snat drop")) == [f"{A}:80 masquerade-proxy", f"dropped after {A}:80"]


def test_a_translated_connection_has_status_dnat() -> None:
    forward = "\tchain f {\n\t\ttype filter hook forward priority 0; policy accept;\n\t\tct status dnat drop\n\t}"
    assert one(nat(f"tcp dport 80 dnat to {A}:80", more=forward)) == [f"dropped after {A}:80"]
    # One that changes nothing is none.
    assert one(nat(f"tcp dport 80 dnat to {VIP}:80", more=forward)) == [f"{VIP}:80"]


# -- marks, lists, order inside a rule ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("meta mark set 0x4000\nmeta mark 0x4000 drop", ["dropped"]),
        ("meta mark set meta mark | 0x4000\nmeta mark & 0x4000 == 0x4000 drop", ["dropped"]),
        ("meta mark set 0x4000\nmeta mark set meta mark ^ 0x4000\nmeta mark 0 drop", ["dropped"]),
        ("meta mark set 0xf0\nmeta mark set meta mark & 0x10\nmeta mark 0x10 drop", ["dropped"]),
        ("meta mark set 0x1\nmeta mark set meta mark << 4\nmeta mark 0x10 drop", ["dropped"]),
        ("meta mark set 0x10\nmeta mark set meta mark >> 4\nmeta mark 0x1 drop", ["dropped"]),
        ("ct mark set 0x4\nct mark 0x4 drop", ["dropped"]),
        ("ct mark set 0x4\nmeta mark set ct mark\nmeta mark 0x4 drop", ["dropped"]),
        ("meta mark set 0x1 accept\ndrop", ["untranslated"]),
        # What asks after something was done sees the packet as it is then.
        ("meta mark set 0x1 meta mark 0x1 drop", ["dropped"]),
        ("meta mark set 0x1 meta mark 0x2 drop\nreject", ["rejected"]),
        ("meta priority set 1:2\nct zone set 5\ndrop", ["dropped"]),
        ("meta mark set tcp sport\nmeta mark 0x4 drop", ["unknown", "untranslated"]),
        ("ip dscp set cs1\ndrop", ["dropped", "unknown"]),
    ],
)
def test_marks(rules: str, expected: list[str]) -> None:
    assert one(base(rules)) == expected


AFFINITY = f"""\tset sticky-a {{
\t\ttype ipv4_addr
\t\tflags dynamic,timeout
\t\ttimeout 3h
\t}}
\tchain ep-a {{
\t\tupdate @sticky-a {{ ip saddr }}
\t\tmeta l4proto tcp dnat to {A}:80
\t}}"""


def test_affinity() -> None:
    """A client not seen before is in no list; it is written into the one of its endpoint and comes back there."""
    rules = "ip saddr @sticky-a goto ep-a\nnumgen random mod 1 vmap { 0 : goto ep-a }"
    assert one(nat(rules, more=AFFINITY)) == [f"{A}:80 affinity-10800"]
    assert one(nat("goto ep-a", more=AFFINITY)) == [f"{A}:80"]
    assert one(nat("ip saddr != @sticky-a drop", more=AFFINITY)) == ["dropped"]
    for_good = AFFINITY.replace("\t\ttimeout 3h\n", "")
    assert one(nat(rules, more=for_good)) == [f"{A}:80 affinity-0"]


# -- words -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("drop", (Effect.DROP, "drop", None)),
        ("goto u", (Effect.JUMP, "goto u", "u")),
        ("ip daddr vmap { 10.0.0.1 : drop }", (Effect.JUMP, "look-up in map", None)),
        ("masquerade", (Effect.REWRITE, "masquerade", None)),
        ("snat to 10.0.0.1", (Effect.REWRITE, "snat to 10.0.0.1", None)),
        ("dnat to 10.0.0.1:80", (Effect.TRANSLATE, "dnat to 10.0.0.1:80", None)),
        ("dnat to ip daddr map @m", (Effect.TRANSLATE, "dnat to map m", None)),
        ("redirect to :80", (Effect.TRANSLATE, "redirect to :80", None)),
        ("reject", (Effect.REJECT, "reject", None)),
        ("notrack", (Effect.UNTRACK, "notrack", None)),
        ("meta mark set 1", (Effect.MARK, "set mark", None)),
        ("xt target FOO", (Effect.OTHER, "what kdiag does not know", None)),
        ("counter", (Effect.NOTHING, "no verdict", None)),
    ],
)
def test_words_of_rules(text: str, expected: tuple[Effect, str, str | None]) -> None:
    table = n.nft(base(text)).tables[0]
    assert rule_words(table.chains["c"].rules[0]) == expected


def test_words_of_keys_and_verdicts() -> None:
    assert key_text(nft.Concat((nft.Prefix("10.0.0.0", 8), nft.Span(nft.Value(1), nft.Value(9))))) == "10.0.0.0/8 . 1-9"
    assert (key_text(nft.Wildcard()), key_text(nft.Meta("mark"))) == ("*", "?")
    assert place_words(nft.Translate("dnat", nft.Value("fd00::1"), nft.Value(80))) == "[fd00::1]:80"
    assert place_words(nft.Translate("dnat", nft.Concat((nft.Value("10.0.0.1"), nft.Value(80))))) == "10.0.0.1:80"
    kinds = ("accept", "return", "continue", "queue")
    assert [verdict_words(nft.Verdict(kind))[0] for kind in kinds] == [
        Effect.ACCEPT,
        Effect.RETURN,
        Effect.NOTHING,
        Effect.OTHER,
    ]


def test_the_handle_is_part_of_the_evidence() -> None:
    (leaf,) = leaves(base("drop # handle 7"), only=OUTSIDE, position=EXTERNAL)
    assert leaf.passed is not None
    assert leaf.passed.met.text == "drop # handle 7"


def test_sets_whose_elements_were_left_out() -> None:
    """`nft --terse`: nothing is known of what is in them."""
    ruleset = n.nft(base("ip daddr @s drop", more="\tset s {\n\t\ttype ipv4_addr\n\t}"))
    table = ruleset.tables[0]
    hidden = structs.replace(table.sets["s"], listed=False)
    from kdiag.walk.meaning import Surroundings
    from kdiag.walk.nft_sets import TableSets
    from tests.walk.setting import NETWORKS

    bare = TableSets(structs.replace(table, sets={"s": hidden}), Surroundings(network=NETWORKS[Family.IPV4]))
    assert bare.index((), nft.Value(0), nft.SetReference("s")) is None
    assert bare.pairs(nft.SetReference("s")) is None
    assert bare.words(nft.SetReference("s")) is None
    assert NODE_IP
