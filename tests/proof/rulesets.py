"""Random rule sets over what the walker claims to know, in the format of `iptables-restore`.

Only the first packet of a connection is judged, so each built-in chain but those of nat begins with rules that let all
other packets pass: what happens to answers is no part of the question.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection

from kdiag.model.addresses import Family
from tests.proof.lab import SITES, Site
from tests.proof.match_words import MATCHES, WITH_PROTOCOL, Place, port_number

HOOKS = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}


def empty(tables: Collection[str] = tuple(HOOKS)) -> str:
    """The rule set without a rule."""
    lines = []
    for table in tables:
        lines += [f"*{table}", *(f":{hook} ACCEPT [0:0]" for hook in HOOKS[table]), "COMMIT"]
    return "\n".join(lines) + "\n"


def _matches(rng: random.Random, site: Site, place: Place, known: Collection[str]) -> str:
    names = [name for name in MATCHES if name in known]
    weights = [MATCHES[name][1] for name in names]
    chosen: list[str] = []
    for _ in range(rng.choice((0, 1, 1, 2, 2, 3))):
        name = rng.choices(names, weights)[0]
        if name in chosen or (name in WITH_PROTOCOL and WITH_PROTOCOL & set(chosen)):
            continue
        chosen.append(name)
    return " ".join(word for name in chosen if (word := MATCHES[name][0](rng, site, place)))


def _mark_target(rng: random.Random) -> str:
    words = (
        "MARK --set-xmark 0x1/0x1",
        "MARK --set-mark 0x2/0x3",
        "MARK --or-mark 0x4000",
        "MARK --and-mark 0xfffffffe",
        "MARK --xor-mark 0x3",
        "MARK --set-xmark 0x4000/0x0",
        "MARK --set-mark 0x3",
    )
    return rng.choice(words)


def _connection_mark_target(rng: random.Random) -> str:
    words = (
        "CONNMARK --save-mark",
        "CONNMARK --restore-mark",
        "CONNMARK --save-mark --nfmask 0x3 --ctmask 0x1",
        "CONNMARK --restore-mark --nfmask 0x2 --ctmask 0x3",
        "CONNMARK --set-xmark 0x2/0x2",
        "CONNMARK --set-mark 0x1/0x1",
    )
    return rng.choice(words)


def _harmless(rng: random.Random, site: Site, place: Place, *, tcp: bool) -> str:
    """A target after which the packet goes on as it came."""
    names = ["TOS", "DSCP", "AUDIT", "TTL", "CHECKSUM"]
    if set(place.hooks) <= {"FORWARD", "OUTPUT", "POSTROUTING"}:
        names.append("CLASSIFY")
    names += ["TCPOPTSTRIP", "ECN"] if tcp else []
    return _word_of(rng.choice(names), site)


def _word_of(name: str, site: Site) -> str:
    """A harmless target with its options; IPv6 has others for two of them."""
    options = {
        "TOS": "--set-tos 0x10/0xff",
        "DSCP": "--set-dscp 0x01",
        "AUDIT": "--type accept",
        "TTL": "--ttl-inc 1",
        "HL": "--hl-inc 1",
        "CHECKSUM": "--checksum-fill",
        "CLASSIFY": "--set-class 1:1",
        "TCPOPTSTRIP": "--strip-options 8",
        "ECN": "--ecn-tcp-remove",
    }
    if site.family is Family.IPV6:
        name = {"TTL": "HL", "ECN": "TOS"}.get(name, name)
    elif name == "HL":
        name = "TTL"
    return f"{name} {options[name]}"


def _place(site: Site, rng: random.Random) -> str:
    address = rng.choice((*site.backends, site.server))
    bracketed = f"[{address}]" if site.family is Family.IPV6 else address
    form = rng.random()
    if form < 0.15:
        return address
    if form < 0.2:
        return f":{port_number(rng)}"
    return f"{bracketed}:{port_number(rng)}"


def _target(rng: random.Random, site: Site, place: Place, matches: str, known: Collection[str]) -> str:
    tcp = "-p tcp" in matches and "! -p tcp" not in matches
    options: list[tuple[str, int]] = [("ACCEPT", 2), ("RETURN", 2), ("", 1)]
    options += [(_mark_target(rng), 5 if place.table == "mangle" else 2)] if place.table != "raw" else []
    if place.table == "mangle":
        options += [(_connection_mark_target(rng), 3), ("DROP", 1), (_harmless(rng, site, place, tcp=tcp), 2)]
    if place.table == "raw":
        options += [("CT --notrack", 1), ("CT --zone 0", 1), ("DROP", 1), ("TRACE", 1)]
    if place.table == "filter":
        refusal = rng.choice(REFUSALS[site.family])
        options += [("DROP", 3), (f"REJECT --reject-with {refusal}", 3), ("NFLOG --nflog-group 7", 1), ("LOG", 1)]
        options += [("REJECT --reject-with tcp-reset", 3)] if tcp else []
    if place.table == "nat":
        if set(place.hooks) <= {"PREROUTING", "OUTPUT"}:
            options += [(f"DNAT --to-destination {_place(site, rng)}", 8)] if tcp else []
            options += [("REDIRECT --to-ports " + port_number(rng), 2), ("REDIRECT", 1)] if tcp else []
        elif place.hooks == ("POSTROUTING",):
            options += [("MASQUERADE", 6), (f"SNAT --to-source {site.node_outside}", 2)]
        elif place.hooks == ("INPUT",):
            options += [(f"SNAT --to-source {site.foreign_source}", 4)]
    options = [item for item in options if item[0].split(" ")[0] in known or item[0] in ("", "ACCEPT", "RETURN")]
    return rng.choices([text for text, _ in options], [weight for _, weight in options])[0]


REFUSALS = {
    Family.IPV4: tuple(
        f"icmp-{word}"
        for word in ("port-unreachable", "port-unreachable", "host-unreachable", "net-unreachable", "admin-prohibited")
    ),
    Family.IPV6: tuple(
        f"icmp6-{word}"
        for word in ("port-unreachable", "port-unreachable", "addr-unreachable", "no-route", "adm-prohibited")
    ),
}
# Targets after which the packet goes on as it came, beside LOG and NFLOG.
HARMLESS = ("TOS", "DSCP", "AUDIT", "TTL", "HL", "CHECKSUM", "CLASSIFY", "TCPOPTSTRIP", "ECN")
TARGETS = (
    "MARK",
    "CONNMARK",
    "DROP",
    "REJECT",
    "CT",
    "TRACE",
    *HARMLESS,
    "NFLOG",
    "LOG",
    "DNAT",
    "REDIRECT",
    "MASQUERADE",
    "SNAT",
)


def _rule(rng: random.Random, site: Site, place: Place, chain: str, inner: list[str], known: Collection[str]) -> str:
    matches = _matches(rng, site, place, known)
    translates = place.table == "nat" and set(place.hooks) <= {"PREROUTING", "OUTPUT"}
    if translates and "-p " not in matches and rng.random() < 0.8:
        matches = f"{matches} -p tcp".strip()
    if inner and rng.random() < 0.4:
        return f"-A {chain} {matches} {rng.choice(('-j', '-j', '-j', '-g'))} {rng.choice(inner)}"
    target = _target(rng, site, place, matches, known)
    return f"-A {chain} {matches} {'-j ' + target if target else ''}".rstrip()


def _hook_groups(table: str) -> tuple[tuple[str, ...], ...]:
    """Hooks that may share user chains: targets of nat belong to a hook."""
    if table == "nat":
        return (("PREROUTING", "OUTPUT"), ("POSTROUTING",), ("INPUT",))
    if table == "mangle":
        return (("PREROUTING",), ("INPUT", "FORWARD", "OUTPUT", "POSTROUTING"))
    return (HOOKS[table],)


def generate(rng: random.Random, site: Site, known: Collection[str]) -> str:
    """One rule set. `known` are the names of MATCHES and TARGETS that may be used."""
    answers = "ipv6-icmp" if site.family is Family.IPV6 else "icmp"
    lines: list[str] = []
    for table, hooks in HOOKS.items():
        drops = table == "filter" and rng.random() < 0.1
        lines.append(f"*{table}")
        lines += [f":{hook} {'DROP' if drops and hook == 'FORWARD' else 'ACCEPT'} [0:0]" for hook in hooks]
        rules: list[str] = []
        if table != "nat":
            for hook in hooks:
                rules += [f"-A {hook} -p {answers} -j ACCEPT", f"-A {hook} -p tcp -m tcp ! --syn -j ACCEPT"]
        busy = {"raw": 0.3, "mangle": 0.6, "nat": 1.0, "filter": 0.9}[table]
        for number, group in enumerate(_hook_groups(table)):
            if rng.random() > busy:
                continue
            inner = [f"{table.upper()}-{number}-{index}" for index in range(rng.choice((0, 1, 2, 3)))]
            lines += [f":{chain} - [0:0]" for chain in inner]
            for hook in group:
                place = Place(table=table, hooks=(hook,), built_in=True)
                for _ in range(rng.choice((0, 1, 2, 3, 4))):
                    rules.append(_rule(rng, site, place, hook, inner, known))
            for index, chain in enumerate(inner):
                place = Place(table=table, hooks=group, built_in=False)
                for _ in range(rng.choice((1, 2, 3, 4, 12))):
                    rules.append(_rule(rng, site, place, chain, inner[index + 1 :], known))
        lines += [*rules, "COMMIT"]
    return "\n".join(lines) + "\n"


def what_is_known(accepts: Callable[[Site, str], bool]) -> frozenset[str]:
    """The matches and targets that a machine takes in both families; `accepts` tries a rule set."""
    names = (*MATCHES, *TARGETS)
    if all(accepts(site, _samples(names, site)) for site in SITES.values()):
        return frozenset(names)
    return frozenset(name for name in names if all(accepts(site, _samples((name,), site)) for site in SITES.values()))


def _samples(names: Collection[str], site: Site) -> str:
    """A rule for each name."""
    rng = random.Random(7)
    place = Place(table="mangle", hooks=("PREROUTING",), built_in=False)
    rules: dict[str, list[str]] = {table: [] for table in HOOKS}
    for name in names:
        if name in MATCHES:
            rules["mangle"].append(f"-A TRIED {MATCHES[name][0](rng, site, place)}")
        else:
            table, hook, text = _sample(name, site, rng)
            rules[table].append(f"-A {hook} -p tcp -j {text}")
    lines = []
    for table, found in rules.items():
        lines += [f"*{table}", *((":TRIED - [0:0]",) if table == "mangle" else ()), *found, "COMMIT"]
    return "\n".join(lines) + "\n"


def _sample(target: str, site: Site, rng: random.Random) -> tuple[str, str, str]:
    match target:
        case "MARK":
            return "mangle", "PREROUTING", _mark_target(rng)
        case "CONNMARK":
            return "mangle", "PREROUTING", _connection_mark_target(rng)
        case "CT":
            return "raw", "PREROUTING", "CT --notrack"
        case "TRACE":
            return "raw", "PREROUTING", target
        case name if name in HARMLESS:
            return "mangle", "FORWARD", _word_of(name, site)
        case "NFLOG":
            return "filter", "INPUT", "NFLOG --nflog-group 7"
        case "DNAT":
            return "nat", "PREROUTING", f"DNAT --to-destination {site.server}"
        case "REDIRECT":
            return "nat", "PREROUTING", "REDIRECT --to-ports 80"
        case "MASQUERADE":
            return "nat", "POSTROUTING", target
        case "SNAT":
            return "nat", "POSTROUTING", f"SNAT --to-source {site.node_outside}"
        case _:
            return "filter", "INPUT", target
