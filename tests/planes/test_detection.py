"""Which plane a node runs, and what the rules tell of its configuration."""

from __future__ import annotations

import pytest
from msgspec import structs

from kdiag.model.addresses import Family
from kdiag.model.host import HostFacts, InterfaceAddress, ProxyLog
from kdiag.model.proxy import DetectLocalMode, ProxyConfig, ProxyMode, Version
from kdiag.model.rules import Ruleset
from kdiag.parse.iptables_save import parse_iptables_save
from kdiag.planes import PLANES
from kdiag.planes.detection import assumed_release, config_from_rules, plane_of
from kdiag.planes.interface import NodeEvidence
from kdiag.planes.rulesets import read_ipvs, read_nft
from tests.checks import builders as b
from tests.planes.builders import FILTER, NAT, evidence, ruleset, without

TABLE = "table {family} kube-proxy {{\n\tchain services {{\n\t}}\n}}\n"
PORTALS = "*nat\n:KUBE-PORTALS-CONTAINER - [0:0]\n-A KUBE-PORTALS-CONTAINER -j REDIRECT\nCOMMIT\n"
NFT_JSON = (
    '{"nftables": [{"table": {"family": "ip", "name": "kube-proxy", "handle": 1}}, '
    '{"chain": {"family": "ip", "table": "kube-proxy", "name": "services", "handle": 2}}]}'
)
IPVS_HOST = HostFacts(
    addresses=(InterfaceAddress(interface="kube-ipvs0", address=b.address("10.96.0.1"), prefix_length=32),)
)


def signed(found: NodeEvidence) -> list[str]:
    return [str(plane.mode) for plane in PLANES if plane.signs(found)]


def printed(**probes: str) -> NodeEvidence:
    """What other tools than iptables printed, read."""
    found = evidence(host=HostFacts(), **probes)
    nft, nft_gaps = read_nft("node01", found.probes, ())
    ipvs, ipvs_gaps = read_ipvs("node01", found.probes)
    assert (nft_gaps, ipvs_gaps) == ((), ())
    return structs.replace(found, nft=nft, ipvs=ipvs)


@pytest.mark.parametrize(
    ("found", "modes"),
    [
        (evidence(), []),
        (evidence(ruleset()), ["iptables"]),
        (printed(nft_list_ruleset=TABLE.format(family="ip")), ["nftables"]),
        (printed(nft_list_ruleset=TABLE.format(family="ip6")), ["nftables"]),
        (printed(nft_j_list_ruleset=NFT_JSON), ["nftables"]),
        # A table that was emptied, one of another name, and one of a family that kube-proxy does not use.
        (printed(nft_list_ruleset="table ip kube-proxy {\n}\n"), []),
        (printed(nft_list_ruleset=TABLE.format(family="ip").replace("kube-proxy", "kube-proxy2")), []),
        (printed(nft_list_ruleset=TABLE.format(family="inet")), []),
        (printed(nft_list_ruleset="table ip filter {\n}\n"), []),
        (evidence(host=IPVS_HOST), ["ipvs"]),
        (printed(ipvsadm_save_n="-A -t 10.96.0.1:443 -s rr\n"), ["ipvs"]),
        (printed(ipvsadm_save_n=""), []),
        (evidence(ruleset(PORTALS)), ["userspace"]),
        (evidence(ruleset("*nat\n:KUBE-PORTALS-HOST - [0:0]\nCOMMIT\n")), []),
        (evidence(ruleset(), host=IPVS_HOST), ["iptables", "ipvs"]),
    ],
)
def test_signs_of_the_planes(found: NodeEvidence, modes: list[str]) -> None:
    assert signed(found) == modes


def chosen(found: NodeEvidence, config: ProxyConfig | None = None) -> str | None:
    plane = plane_of(found, config)
    return str(plane.mode) if plane else None


def facts(answer: str | None = None, log: str | None = None, host: HostFacts = HostFacts()) -> HostFacts:  # noqa: B008
    return structs.replace(
        host, proxy_mode_answer=answer, log=ProxyLog(source="log", proxier=log) if log is not None else None
    )


IPTABLES, IPVS, UNSAID = (
    ProxyConfig(source="c", mode=ProxyMode.IPTABLES),
    ProxyConfig(source="c", mode=ProxyMode.IPVS),
    ProxyConfig(source="c", mode_text=""),
)


@pytest.mark.parametrize(
    ("found", "config", "expected"),
    [
        # The proxy's own answer is the truth …
        (evidence(ruleset(), host=facts("ipvs\n")), IPTABLES, "ipvs"),
        (evidence(ruleset(), host=facts("NFTables")), None, "nftables"),
        # … an answer that is none is not.
        (evidence(ruleset(), host=facts("404 page not found")), IPVS, "iptables"),
        (evidence(ruleset(), host=facts("")), None, "iptables"),
        # Of several signs that of the configured mode counts.
        (evidence(ruleset(), host=facts(host=IPVS_HOST)), IPVS, "ipvs"),
        (evidence(ruleset(), host=facts(host=IPVS_HOST)), IPTABLES, "iptables"),
        (evidence(ruleset(), host=facts(host=IPVS_HOST)), UNSAID, "iptables"),
        # Signs count before log and configuration.
        (evidence(host=facts(log="iptables", host=IPVS_HOST)), IPTABLES, "ipvs"),
        (evidence(host=facts(log="nftables")), IPTABLES, "nftables"),
        (evidence(host=facts(log="something")), IPVS, "ipvs"),
        (evidence(), IPVS, "ipvs"),
        (evidence(), UNSAID, "iptables"),
        (evidence(), None, None),
    ],
)
def test_the_plane_of_a_node(found: NodeEvidence, config: ProxyConfig | None, expected: str | None) -> None:
    assert chosen(found, config) == expected


# -- configuration from the rules --------------------------------------------------------------------------------------

MASQUERADED = '-A {chain} {who}-d 10.96.0.{last}/32 -p tcp -m comment --comment "default/web cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ'


def masquerading(*who: str, chain: str = "KUBE-SVC-WEB", family: Family = Family.IPV4) -> Ruleset:
    lines = [
        MASQUERADED.format(chain=chain, who=f"{item} " if item else "", last=index) for index, item in enumerate(who)
    ]
    text = f"*nat\n:{chain} - [0:0]\n" + "".join(f"{line}\n" for line in lines) + "COMMIT\n"
    if family is Family.IPV6:
        text = text.replace("10.96.0.", "fd00::").replace("/32", "/128")
    return parse_iptables_save(text, family=family, source="dump")


A, B = "! -s 10.244.0.0/16", "! -s 10.9.0.0/16"


def told(*rulesets: Ruleset) -> tuple[object, ...] | None:
    found = config_from_rules(rulesets)
    if found is None:
        return None
    return (
        [str(item) for item in found.cluster_cidrs or ()],
        found.detect_local_mode,
        found.bridge_interface or found.interface_name_prefix,
        bool(found.masquerade_all),
    )


@pytest.mark.parametrize(
    ("rulesets", "expected"),
    [
        ([], None),
        ([ruleset("")], None),
        ([ruleset(FILTER)], None),
        ([masquerading()], None),
        ([masquerading(A)], (["10.244.0.0/16"], None, None, False)),
        ([masquerading(A, A, chain="KUBE-SERVICES")], (["10.244.0.0/16"], None, None, False)),
        ([masquerading(A, chain="KUBE-SVL-WEB")], (["10.244.0.0/16"], None, None, False)),
        # Other chains have such rules for other ends.
        ([masquerading(A, chain="KUBE-EXT-WEB")], None),
        ([masquerading("")], ([], None, None, True)),
        ([masquerading("", "", A)], (["10.244.0.0/16"], None, None, True)),
        ([masquerading(A, A, "")], (["10.244.0.0/16"], None, None, False)),
        # Most rule sets decide, and of equals the first in order.
        ([masquerading(A), masquerading(B), masquerading(A)], (["10.244.0.0/16"], None, None, False)),
        ([masquerading(A), masquerading(B)], (["10.244.0.0/16"], None, None, False)),
        ([masquerading(B), masquerading(A)], (["10.244.0.0/16"], None, None, False)),
        (
            [masquerading(A), masquerading("! -s fd00:244::/56", family=Family.IPV6)],
            (["10.244.0.0/16", "fd00:244::/56"], None, None, False),
        ),
        ([masquerading("! -i cbr0")], ([], DetectLocalMode.BRIDGE_INTERFACE, "cbr0", False)),
        ([masquerading("! -i cali+")], ([], DetectLocalMode.INTERFACE_NAME_PREFIX, "cali", False)),
        # A source that is named and not excluded tells no range.
        ([masquerading("-s 10.244.0.0/16")], ([], None, None, True)),
    ],
)
def test_configuration_as_the_rules_show_it(rulesets: list[Ruleset], expected: tuple[object, ...] | None) -> None:
    assert told(*rulesets) == expected


# -- the release, where nothing states it ------------------------------------------------------------------------------

XLB = NAT.replace(":KUBE-EXT-WEB ", ":KUBE-XLB-WEB ").replace("KUBE-EXT-WEB", "KUBE-XLB-WEB")
OLD_FILTER = without(FILTER, ":KUBE-NODEPORTS", "-A INPUT -j KUBE-NODEPORTS")


@pytest.mark.parametrize(
    ("server", "rules", "expected"),
    [
        (None, FILTER + NAT, None),
        ((1, 30), FILTER + NAT, (1, 30)),
        ((1, 26), without(FILTER, ":KUBE-PROXY-FIREWALL") + NAT, (1, 24)),
        ((1, 24), without(FILTER, ":KUBE-PROXY-FIREWALL") + NAT, (1, 24)),
        ((1, 25), FILTER + XLB, (1, 23)),
        ((1, 22), FILTER + XLB, (1, 22)),
        ((1, 23), OLD_FILTER + XLB, (1, 20)),
        ((1, 18), OLD_FILTER + XLB, (1, 18)),
        # Tables that show nothing of kube-proxy tell nothing of its age.
        ((1, 30), "", (1, 30)),
        ((1, 30), NAT, (1, 30)),
        ((1, 30), FILTER + "*nat\n:DOCKER - [0:0]\nCOMMIT\n", (1, 30)),
    ],
)
def test_the_assumed_release_is_as_old_as_the_chains(
    server: Version | None, rules: str, expected: Version | None
) -> None:
    assert assumed_release(server, [ruleset(rules)]) == expected
