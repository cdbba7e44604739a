"""Random rule sets for `nft -f` over what the walker claims to know of nftables.

As in `rulesets`, base chains that are no nat let ICMP and all packets but the first of a TCP connection pass.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from kdiag.model.addresses import Family
from tests.proof.lab import PORTS, Site

PRIORITIES = {"raw": -300, "mangle": -150, "filter": 0, "late": 10}
PROTOCOLS = ("tcp", "tcp", "udp", "sctp")
INTERFACES = ("cni0", "eth0", "eth1", "lo", "veth1", "docker0")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """The table that is being written: its family word, the prefix of its addresses, its maps and chains."""

    site: Site
    word: str

    @property
    def ip(self) -> str:
        return "ip" if self.site.family is Family.IPV4 else "ip6"

    @property
    def kind(self) -> str:
        return "ipv4_addr" if self.site.family is Family.IPV4 else "ipv6_addr"

    @property
    def destinations(self) -> tuple[str, ...]:
        site = self.site
        return (*site.services, *site.services, *site.node_addresses, site.server, *site.backends)

    @property
    def sources(self) -> tuple[str, ...]:
        site = self.site
        return (*site.pods, *site.outside, site.node_outside, site.bridge)

    @property
    def networks(self) -> tuple[str, ...]:
        if self.site.family is Family.IPV4:
            return ("10.244.0.0/16", "10.96.0.0/12", "192.168.50.0/24", "10.244.1.0/24")
        return ("fd00:244::/32", "fd00:96::/32", "fd00:50::/64", "fd00:244:1::/64")


def _negated(rng: random.Random) -> str:
    return "!= " if rng.random() < 0.2 else ""


def _ports(rng: random.Random) -> str:
    one, other = rng.sample(PORTS, 2)
    return rng.choice((str(one), f"{{ {one}, {other} }}", "80-81", "{ 79-81, 9000 }", "1-1000"))


def _match(rng: random.Random, table: _Table, hook: str, proto: str) -> str:
    ip, site = table.ip, table.site
    address = rng.choice(table.destinations)
    pair = ", ".join(sorted({rng.choice(table.destinations), rng.choice(table.destinations)}))
    low, high = site.services[0], site.services[1]
    words = [
        f"{ip} daddr {_negated(rng)}{address}",
        f"{ip} daddr {_negated(rng)}{rng.choice(table.networks)}",
        f"{ip} daddr {_negated(rng)}{{ {pair} }}",
        f"{ip} daddr {_negated(rng)}{low}-{high}",
        f"{ip} daddr {_negated(rng)}@addresses",
        f"{ip} daddr {_negated(rng)}@networks",
        f"{ip} saddr {_negated(rng)}{rng.choice(table.sources)}",
        f"{ip} saddr {_negated(rng)}{rng.choice(table.networks)}",
        f"{ip} saddr {_negated(rng)}@networks",
        f"{ip} saddr {_negated(rng)}@clients",
        f"{ip} daddr . meta l4proto . th dport {_negated(rng)}@places",
        f"{ip} daddr . {ip} saddr {_negated(rng)}@pairs",
        f"{ip} saddr . meta l4proto . th dport {_negated(rng)}@ranges",
        f"meta l4proto . {ip} daddr . th dport {_negated(rng)}{{ {proto} . {address} . 80, tcp . {low} . 81 }}",
        f"{proto} dport {_negated(rng)}{_ports(rng)}",
        f"{proto} dport {_negated(rng)}{_ports(rng)}",
        f"th dport {rng.choice(('80', '< 1000', '>= 81', '!= 8080'))}",
        f"meta l4proto {_negated(rng)}{rng.choice(('tcp', 'udp', '{ tcp, udp }', 'sctp', '{ tcp, sctp }'))}",
        f"meta mark {_negated(rng)}{rng.choice(('0x1', '0x0', '0x4000', '{ 0x1, 0x3 }', '0x1-0x3'))}",
        f"meta mark & {rng.choice(('0x1', '0x4000'))} {rng.choice(('==', '!='))} {rng.choice(('0x1', '0x4000', '0x0'))}",
        f"ct mark {_negated(rng)}{rng.choice(('0x1', '0x0', '0x2'))}",
        f"ct state {rng.choice(('new', 'established,related', 'new,untracked', 'untracked', 'invalid', '!= new'))}",
        f"ct state {{ {rng.choice(('new, established', 'invalid, untracked'))} }}",
        f"ct status {rng.choice(('dnat', '& dnat == 0', '& dnat == dnat'))}",
        "ct direction original",
        f"ct original protocol {rng.choice(('tcp', 'udp', 'sctp'))}",
        # Of the other family nft 1.0.6 does not print it back where an address is asked beside it.
        f"meta protocol {ip}",
        f"{'ip protocol' if ip == 'ip' else 'ip6 nexthdr'} {_negated(rng)}{rng.choice(('tcp', 'udp', 'sctp'))}",
        f"{ip} version {4 if ip == 'ip' else 6}",
        f"meta skuid {_negated(rng)}0",
        f"meta skgid {_negated(rng)}4242",
        "log",
        f"ct original {ip} daddr {rng.choice(table.destinations)}",
        f"meta l4proto {proto} ct original proto-dst 80",
        f"fib daddr type {_negated(rng)}{rng.choice(('local', 'unicast', '{ local, multicast }'))}",
        f"fib saddr type {_negated(rng)}local",
        "meta nfproto ipv4",
        "meta nfproto ipv6",
        "meta pkttype host",
        "tcp flags syn / fin,syn,rst,ack",
        "tcp flags & (fin | syn | rst | ack) == syn",
        "tcp flags != syn",
        'comment_ "said in passing; drop"',
        "limit rate 100000/second burst 100000 packets",
        "counter",
    ]
    if hook in ("prerouting", "input", "forward"):
        names = f'{{ "{rng.choice(INTERFACES)}", "{rng.choice(INTERFACES)}" }}'
        words += [f'iifname {_negated(rng)}"{rng.choice((*INTERFACES, "eth*"))}"', f"iifname {_negated(rng)}{names}"]
        words += [f'iif {_negated(rng)}"{rng.choice(("cni0", "eth0", "lo"))}"']
    if hook in ("output", "forward", "postrouting"):
        words += [f'oifname {_negated(rng)}"{rng.choice((*INTERFACES, "eth*"))}"']
        words += [f'oif {_negated(rng)}"{rng.choice(("cni0", "eth0", "lo"))}"']
    if hook == "prerouting":
        words += ["fib saddr . iif oif exists", 'fib saddr . iif oifname != "docker0"']
    word = rng.choice(words)
    return "" if word.startswith("comment_") else word


def _mark(rng: random.Random) -> str:
    words = (
        "meta mark set 0x1",
        "meta mark set meta mark | 0x4000",
        "meta mark set meta mark & 0xfffffffe",
        "meta mark set meta mark ^ 0x3",
        "ct mark set 0x2",
        "ct mark set meta mark",
        "meta mark set ct mark",
        "meta mark set meta mark or 0x1 xor 0x2",
    )
    return rng.choice(words)


def _socket(rng: random.Random, table: _Table) -> str:
    address = rng.choice((*table.site.backends, table.site.server))
    bracketed = f"[{address}]" if table.site.family is Family.IPV6 else address
    return rng.choice((f"{bracketed}:{rng.choice(PORTS)}", f"{bracketed}:{rng.choice(PORTS)}", address))


def _random_places(rng: random.Random, table: _Table) -> str:
    site = table.site
    count = rng.choice((2, 3))
    backends = [rng.choice((*site.backends, site.server)) for _ in range(count)]
    elements = ", ".join(f"{index} : {address} . {rng.choice(PORTS)}" for index, address in enumerate(backends))
    return f"numgen random mod {count} map {{ {elements} }}"


def _verdict(rng: random.Random, table: _Table, hook: str, kind: str, proto: str, inner: list[str]) -> str:
    ip = table.ip
    prefix = f"{ip} " if table.word == "inet" else ""
    if inner and rng.random() < 0.45:
        one, other = rng.choice(inner), rng.choice(inner)
        return rng.choice(
            (
                f"jump {one}",
                f"jump {one}",
                f"goto {one}",
                f"{proto} dport vmap {{ 80 : jump {one}, 81 : goto {other}, 8080 : return }}",
                f"{ip} daddr vmap {{ {table.site.services[0]} : goto {one}, {table.site.services[1]} : jump {other} }}",
                f"{ip} saddr vmap {{ {rng.choice(table.networks)} : jump {one} }}",
                f"numgen random mod 2 vmap {{ 0 : jump {one}, 1 : goto {other} }}",
                f"meta l4proto vmap {{ tcp : jump {one}, udp : jump {other}, sctp : accept }}",
            )
        )
    words = ["accept", "return", "continue", "counter", _mark(rng), _mark(rng), f"{_mark(rng)} {_mark(rng)}"]
    if kind == "filter":
        refuse = rng.choice(("reject", "reject with icmpx host-unreachable", "reject with icmpx port-unreachable"))
        words += ["drop", "drop"]
        if hook in ("input", "forward", "output"):
            words += [refuse, refuse]
            words += ["meta l4proto tcp reject with tcp reset"]
        if hook in ("prerouting", "output"):
            words += ["notrack"]
        words += [f"{_mark(rng)} {ip} daddr {rng.choice(table.destinations)} drop"]
    elif hook in ("prerouting", "output"):
        needs = "meta l4proto { tcp, udp, sctp } "
        words = [
            f"meta l4proto {proto} dnat {prefix}to {_socket(rng, table)}",
            f"meta l4proto {proto} dnat {prefix}to {_socket(rng, table)}",
            f"{needs}dnat {prefix}to {_random_places(rng, table)}",
            f"{needs}dnat {prefix}to {ip} daddr . meta l4proto . th dport map @translations",
            f"{needs}redirect to :{rng.choice(PORTS)}",
            "redirect",
            *words,
        ]
    elif hook == "postrouting":
        words = ["masquerade", "masquerade fully-random", f"snat {prefix}to {table.site.node_outside}", *words]
    return rng.choice(words)


def _rule(rng: random.Random, table: _Table, hook: str, kind: str, inner: list[str]) -> str:
    proto = rng.choice(PROTOCOLS)
    matches = [_match(rng, table, hook, proto) for _ in range(rng.choice((0, 1, 1, 2, 2)))]
    verdict = _verdict(rng, table, hook, kind, proto, inner)
    if table.word == "inet" and "reject with tcp reset" in verdict:
        # nft 1.0.6 prints `meta nfproto ipv6 meta l4proto tcp reject with tcp reset` without its first part: what was
        # loaded cannot be read back.
        matches = [word for word in matches if "nfproto" not in word]
    return " ".join(word for word in (*matches, verdict) if word)


def _sets(rng: random.Random, table: _Table) -> list[str]:
    site = table.site
    kind = table.kind

    def some(values: tuple[str, ...], count: int) -> str:
        return ", ".join(sorted(set(rng.choices(values, k=count))))

    places = {f"{rng.choice(table.destinations)} . {rng.choice(PROTOCOLS)} . {rng.choice(PORTS)}" for _ in range(8)}
    pairs = {f"{rng.choice(table.destinations)} . {rng.choice(table.sources)}" for _ in range(8)}
    translations = ", ".join(
        f"{place} : {rng.choice((*site.backends, site.server))} . {rng.choice(PORTS)}" for place in sorted(places)
    )
    ranges = ", ".join(
        (
            f"{table.networks[0]} . {rng.choice(PROTOCOLS)} . {rng.choice(('1-100', '80', '8000-9000'))}",
            f"{site.outside[0]} . {rng.choice(PROTOCOLS)} . 1-65535",
        )
    )
    return [
        f"set addresses {{ type {kind}; elements = {{ {some(table.destinations, 4)} }}; }}",
        f"set networks {{ type {kind}; flags interval; elements = {{ {some(table.networks[:3], 2)} }}; }}",
        f"set clients {{ type {kind}; elements = {{ {some(table.sources, 3)} }}; }}",
        f"set places {{ type {kind} . inet_proto . inet_service; elements = {{ {', '.join(sorted(places))} }}; }}",
        f"set pairs {{ type {kind} . {kind}; elements = {{ {', '.join(sorted(pairs))} }}; }}",
        f"set ranges {{ type {kind} . inet_proto . inet_service; flags interval; elements = {{ {ranges} }}; }}",
        f"map translations {{ type {kind} . inet_proto . inet_service : {kind} . inet_service; "
        f"elements = {{ {translations} }}; }}",
    ]


HOOKS = {
    "filter": ("prerouting", "input", "forward", "output", "postrouting"),
    "nat": ("prerouting", "output", "postrouting"),
}
# nf_nat's own places: other priorities of nat chains are asked in their order, but in one go (nf_nat_inet_fn).
NAT_PRIORITIES = {"prerouting": (-100, -90), "output": (-100, -90), "postrouting": (100, 110)}


def generate_nft(rng: random.Random, site: Site) -> str:
    """One rule set: one or two tables, with chains of several priorities."""
    own = "ip" if site.family is Family.IPV4 else "ip6"
    words = rng.choice(((own,), ("inet",), (own, "inet")))
    used: set[tuple[str, int]] = set()
    texts = []
    for number, word in enumerate(words):
        table = _Table(site=site, word=word)
        lines = _sets(rng, table)
        for kind, hooks in HOOKS.items():
            for hook in hooks:
                if rng.random() < (0.55 if kind == "filter" else 0.15):
                    continue
                choices = NAT_PRIORITIES[hook] if kind == "nat" else tuple(PRIORITIES.values())
                free = [item for item in choices if (hook, item) not in used]
                if not free:
                    continue
                priority = rng.choice(free)
                used.add((hook, priority))
                # A jump goes to chains that stand further down: there are no loops.
                inner = [f"{kind}-{hook}-{index}" for index in range(rng.choice((0, 1, 2, 3)))]
                for index, chain in enumerate(inner):
                    rules = [_rule(rng, table, hook, kind, inner[index + 1 :]) for _ in range(rng.choice((1, 2, 3, 9)))]
                    lines.append(f"chain {chain} {{\n" + "\n".join(rules) + "\n}")
                rules = [_rule(rng, table, hook, kind, inner) for _ in range(rng.choice((1, 2, 3, 4)))]
                if kind == "filter":
                    rules = [
                        "meta l4proto { icmp, ipv6-icmp } accept",
                        "tcp flags & (fin | syn | rst | ack) != syn accept",
                        *rules,
                    ]
                policy = "drop" if kind == "filter" and hook == "forward" and rng.random() < 0.1 else "accept"
                head = f"type {kind} hook {hook} priority {priority}; policy {policy}"
                lines.append(f"chain {kind}-{hook} {{\n{head}\n" + "\n".join(rules) + "\n}")
        # Chains that are jumped to must be declared before.
        declared = [
            f"chain {line.split()[1]} {{ }}" for line in lines if line.startswith("chain ") and "type " not in line
        ]
        texts.append(f"table {word} t{number} {{\n" + "\n".join([*declared, *lines]) + "\n}\n")
    return "".join(texts)
