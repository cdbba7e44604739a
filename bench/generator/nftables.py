"""What `nft list ruleset` and `nft -j list ruleset` print where kube-proxy 1.36 has written the rules, in nftables mode.

Both are made from one description of the tables, so that they say the same; in the words and the order of nft 1.0.6.
"""

from __future__ import annotations

import json
from base64 import b32encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from bench.generator.cluster import CLUSTER_CIDR, SERVICE_CIDR, Cluster, NodeState, Port, Service
from bench.generator.iptables import text_of

_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "sctp": 132}
_MARK = 16384

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Rule:
    text: str
    expressions: list[Json]
    comment: str = ""


@dataclass(frozen=True, slots=True)
class _Set:
    """A set or a map. Elements are (text, JSON); `lines_of` is how many nft prints on a line."""

    name: str
    fields: tuple[str, ...]
    comment: str = ""
    is_map: bool = False
    elements: tuple[tuple[str, Any], ...] = ()
    lines_of: int = 1
    timeout_s: int = 0


@dataclass(slots=True)
class _Chain:
    name: str
    hook: tuple[str, str, str, int] | None = None
    comment: str = ""
    rules: list[_Rule] = field(default_factory=list)


@dataclass(slots=True)
class _Table:
    family: str
    sets: list[_Set] = field(default_factory=list)
    chains: list[_Chain] = field(default_factory=list)


def text_dump(cluster: Cluster, state: NodeState) -> str:
    """What `nft list ruleset` prints on the node."""
    return "".join(_table_text(table) for table in _tables(cluster, state))


def json_dump(cluster: Cluster, state: NodeState) -> str:
    """What `nft -j list ruleset` prints on the node: one line."""
    objects: list[Json] = [
        {"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version": 1}}
    ]
    for number, table in enumerate(_tables(cluster, state), start=1):
        objects.append({"table": {"family": table.family, "name": "kube-proxy", "handle": number}})
        objects += _table_objects(table)
    return json.dumps({"nftables": objects}) + "\n"


# The tables


def _tables(cluster: Cluster, state: NodeState) -> Iterator[_Table]:
    yield _ipv4_table(cluster, state)
    yield _fixed_table("ip6", [], "", [], "", {})


def _ipv4_table(cluster: Cluster, state: NodeState) -> _Table:
    hairpin: list[tuple[Any, ...]] = []
    front: list[tuple[tuple[Any, ...], str]] = []
    node_ports: list[tuple[tuple[Any, ...], str]] = []
    refused: dict[str, list[tuple[tuple[Any, ...], str]]] = {"services": [], "nodeports": []}
    chains: list[_Chain] = []
    sets: list[_Set] = []
    for service in cluster.services_of(state):
        for port in service.ports:
            protocol = port.protocol.lower()
            name = f"{service.key}/{protocol}/{port.name}"
            suffix = f"{_hash(service.key, protocol, port.name)}-{name}"
            chains += _service_chains(service, port, protocol, suffix, state, sets)
            local = [item for item in service.endpoints if item.node == state.node.number]
            hairpin += [(item.address, item.address, protocol, item.port or port.target) for item in local]
            if service.number not in state.undispatched:
                front.append(((service.cluster_ip, protocol, port.port), f"service-{suffix}"))
            if port.node_port:
                external: list[tuple[tuple[Any, ...], str]] = [((protocol, port.node_port), f"external-{suffix}")]
                node_ports += external
                if service.load_balancer_ip:
                    front.append(((service.load_balancer_ip, protocol, port.port), f"external-{suffix}"))
                if service.local and not local:
                    refused["nodeports"].append(((protocol, port.node_port), service.port_name(port)))
                    if service.load_balancer_ip:
                        key = (service.load_balancer_ip, protocol, port.port)
                        refused["services"].append((key, service.port_name(port)))
    cluster_ips = [
        service.cluster_ip for service in cluster.services_of(state) if service.number not in state.undispatched
    ]
    table = _fixed_table("ip", cluster_ips, state.node.address, hairpin, CLUSTER_CIDR, refused)
    table.sets += [
        _Set(
            "service-ips",
            ("ipv4_addr", "inet_proto", "inet_service"),
            "ClusterIP, ExternalIP and LoadBalancer IP traffic",
            is_map=True,
            elements=tuple(_verdict(key, chain) for key, chain in sorted(front, key=lambda item: _order(item[0]))),
        ),
        _Set(
            "service-nodeports",
            ("inet_proto", "inet_service"),
            "NodePort traffic",
            is_map=True,
            elements=tuple(_verdict(key, chain) for key, chain in sorted(node_ports, key=lambda item: _order(item[0]))),
        ),
        *sets,
    ]
    table.chains += chains
    return table


def _fixed_table(
    family: str,
    cluster_ips: Sequence[str],
    node_address: str,
    hairpin: Sequence[tuple[Any, ...]],
    cluster_cidr: str,
    refused: Mapping[str, Sequence[tuple[tuple[Any, ...], str]]],
) -> _Table:
    """The sets and chains that are there without any Service."""
    ip, address = family, "ipv4_addr" if family == "ip" else "ipv6_addr"
    vmap_key = (address, "inet_proto", "inet_service")
    sets = [
        _Set(
            "hairpin-connections",
            (address, address, "inet_proto", "inet_service"),
            "service hairpin connections",
            elements=tuple(_plain(key) for key in sorted(hairpin, key=_order)),
        ),
        _Set("cluster-ips", (address,), "Active ClusterIPs", elements=_addresses(cluster_ips), lines_of=2),
        _Set(
            "no-endpoint-services",
            vmap_key,
            "vmap to drop or reject packets to services with no endpoints",
            is_map=True,
            elements=_dropped(refused.get("services", ())),
        ),
        _Set(
            "no-endpoint-nodeports",
            ("inet_proto", "inet_service"),
            "vmap to drop or reject packets to service nodeports with no endpoints",
            is_map=True,
            elements=_dropped(refused.get("nodeports", ())),
        ),
        _Set("firewall-ips", vmap_key, "destinations that are subject to LoadBalancerSourceRanges", is_map=True),
    ]
    if family == "ip":
        nodes = _Set(
            "nodeport-ips", (address,), "IPs that accept NodePort traffic", elements=_addresses([node_address])
        )
        sets.insert(2, nodes)
    else:
        sets += [
            _Set("service-ips", vmap_key, "ClusterIP, ExternalIP and LoadBalancer IP traffic", is_map=True),
            _Set("service-nodeports", ("inet_proto", "inet_service"), "NodePort traffic", is_map=True),
        ]
    destination = {"payload": {"protocol": ip, "field": "daddr"}}
    source = {"payload": {"protocol": ip, "field": "saddr"}}
    l4proto, dport = {"meta": {"key": "l4proto"}}, {"payload": {"protocol": "th", "field": "dport"}}

    def new(target: str) -> _Rule:
        return _Rule(
            f"ct state new jump {target}",
            [{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "new"}}, {"jump": {"target": target}}],
        )

    def look_up(table: str) -> _Rule:
        return _Rule(
            f"{ip} daddr . meta l4proto . th dport vmap @{table}",
            [{"vmap": {"key": {"concat": [destination, l4proto, dport]}, "data": f"@{table}"}}],
        )

    def look_up_port(table: str) -> _Rule:
        vmap = {"vmap": {"key": {"concat": [l4proto, dport]}, "data": f"@{table}"}}
        if family == "ip":
            own, matches = "ip daddr @nodeport-ips", [_is(destination, "@nodeport-ips")]
        else:
            own = "fib daddr type local ip6 daddr != ::1"
            matches = [
                _is({"fib": {"result": "type", "flags": ["daddr"]}}, "local"),
                {"match": {"op": "!=", "left": destination, "right": "::1"}},
            ]
        return _Rule(f"{own} meta l4proto . th dport vmap @{table}", [*matches, vmap])

    def jump(target: str) -> _Rule:
        return _Rule(f"jump {target}", [{"jump": {"target": target}}])

    icmp = "icmp" if family == "ip" else "icmpv6"
    reject = {"reject": {"type": icmp, "expr": "port-unreachable"}}
    services = []
    if cluster_cidr:
        services.append(
            _Rule(
                f"{ip} daddr @cluster-ips {ip} saddr != {cluster_cidr} meta mark set meta mark | 0x00004000",
                [
                    _is(destination, "@cluster-ips"),
                    {"match": {"op": "!=", "left": source, "right": _prefix(cluster_cidr)}},
                    _set_mark("|"),
                ],
                "masquerade clusterIP traffic from outside cluster",
            )
        )
    check = [
        _Rule(
            f"{ip} daddr @cluster-ips reject",
            [_is(destination, "@cluster-ips"), reject],
            "Reject traffic to invalid ports of ClusterIPs",
        )
    ]
    if family == "ip":
        check.append(
            _Rule(
                f"ip daddr {SERVICE_CIDR} drop",
                [_is(destination, _prefix(SERVICE_CIDR)), {"drop": None}],
                "Drop traffic to unallocated ClusterIPs",
            )
        )
    chains = [
        _Chain(
            "filter-prerouting-pre-dnat", ("filter", "prerouting", "dstnat - 10", -110), rules=[new("firewall-check")]
        ),
        _Chain("filter-output-pre-dnat", ("filter", "output", "-110", -110), rules=[new("firewall-check")]),
        _Chain(
            "filter-input",
            ("filter", "input", "filter", 0),
            rules=[new("nodeport-endpoints-check"), new("service-endpoints-check")],
        ),
        _Chain(
            "filter-forward",
            ("filter", "forward", "filter", 0),
            rules=[new("service-endpoints-check"), new("cluster-ips-check")],
        ),
        _Chain(
            "filter-output",
            ("filter", "output", "filter", 0),
            rules=[new("service-endpoints-check"), new("cluster-ips-check")],
        ),
        _Chain("nat-prerouting", ("nat", "prerouting", "dstnat", -100), rules=[jump("services")]),
        _Chain("nat-output", ("nat", "output", "-100", -100), rules=[jump("services")]),
        _Chain("nat-postrouting", ("nat", "postrouting", "srcnat", 100), rules=[jump("masquerading")]),
        _Chain("nodeport-endpoints-check", rules=[look_up_port("no-endpoint-nodeports")]),
        _Chain("service-endpoints-check", rules=[look_up("no-endpoint-services")]),
        _Chain("firewall-check", rules=[look_up("firewall-ips")]),
        _Chain("services", rules=[*services, look_up("service-ips"), look_up_port("service-nodeports")]),
        _Chain(
            "masquerading",
            rules=[
                _Rule(
                    "meta mark & 0x00004000 != 0x00000000 meta mark set meta mark ^ 0x00004000 masquerade fully-random",
                    [
                        {"match": {"op": "!=", "left": {"&": [{"meta": {"key": "mark"}}, _MARK]}, "right": 0}},
                        _set_mark("^"),
                        {"masquerade": {"flags": "fully-random"}},
                    ],
                ),
                _Rule(
                    f"ct status dnat {ip} saddr . {ip} daddr . meta l4proto . th dport @hairpin-connections masquerade "
                    "fully-random",
                    [
                        {"match": {"op": "in", "left": {"ct": {"key": "status"}}, "right": "dnat"}},
                        _is({"concat": [source, destination, l4proto, dport]}, "@hairpin-connections"),
                        {"masquerade": {"flags": "fully-random"}},
                    ],
                ),
            ],
        ),
        _Chain("cluster-ips-check", rules=check),
        _Chain(
            "reject-chain",
            comment="helper for @no-endpoint-services / @no-endpoint-nodeports",
            rules=[_Rule("reject", [reject])],
        ),
    ]
    return _Table(family=family, sets=sets, chains=chains)


def _service_chains(
    service: Service, port: Port, protocol: str, suffix: str, state: NodeState, sets: list[_Set]
) -> Iterator[_Chain]:
    """The chains of one Service port, those jumped to first; adds the sets of clients that stay at their endpoint."""
    texts = sorted(text_of(item, port) for item in service.endpoints)
    local = sorted(text_of(item, port) for item in service.endpoints if item.node == state.node.number)
    endpoints: dict[str, str] = {}
    if service.affinity:
        for text in texts:
            address, _, number = text.rpartition(":")
            name = f"{_hash(service.key, protocol, port.name, text)}-{service.key}/{protocol}/{port.name}__{address}/{number}"
            endpoints[text] = name
            sets.append(_Set(f"affinity-{name}", ("ipv4_addr",), timeout_s=10800))
            yield _Chain(
                f"endpoint-{name}",
                rules=[
                    _Rule(
                        f"update @affinity-{name} {{ ip saddr }}",
                        [
                            {
                                "set": {
                                    "op": "update",
                                    "elem": {"payload": {"protocol": "ip", "field": "saddr"}},
                                    "set": f"@affinity-{name}",
                                }
                            }
                        ],
                    ),
                    _Rule(
                        f"meta l4proto {protocol} dnat to {text}",
                        [_is({"meta": {"key": "l4proto"}}, protocol), {"dnat": {"addr": address, "port": int(number)}}],
                    ),
                ],
            )
    yield _Chain(f"service-{suffix}", rules=_balance(protocol, texts, endpoints))
    if not port.node_port:
        return
    if service.local and local:
        yield _Chain(f"local-{suffix}", rules=_balance(protocol, local, endpoints))
    yield _Chain(f"external-{suffix}", rules=_external(service, suffix, bool(local)))


def _external(service: Service, suffix: str, has_local: bool) -> list[_Rule]:
    to_all = _Rule(f"goto service-{suffix}", [{"goto": {"target": f"service-{suffix}"}}])
    if not service.local:
        return [_Rule("meta mark set meta mark | 0x00004000", [_set_mark("|")], "masquerade"), to_all]
    own = _is({"fib": {"result": "type", "flags": ["saddr"]}}, "local")
    source = {"payload": {"protocol": "ip", "field": "saddr"}}
    rules = [
        _Rule(
            f"ip saddr {CLUSTER_CIDR} {to_all.text}",
            [_is(source, _prefix(CLUSTER_CIDR)), *to_all.expressions],
            "short-circuit pod traffic",
        ),
        _Rule(
            "fib saddr type local meta mark set meta mark | 0x00004000",
            [own, _set_mark("|")],
            "masquerade local traffic",
        ),
        _Rule(f"fib saddr type local {to_all.text}", [own, *to_all.expressions], "short-circuit local traffic"),
    ]
    if has_local:
        rules.append(_Rule(f"goto local-{suffix}", [{"goto": {"target": f"local-{suffix}"}}]))
    return rules


def _balance(protocol: str, texts: Sequence[str], endpoints: Mapping[str, str]) -> list[_Rule]:
    numgen = {"numgen": {"mode": "random", "mod": len(texts), "offset": 0}}
    if not endpoints:
        pairs = [text.rpartition(":") for text in texts]
        listed = ", ".join(f"{index} : {address} . {number}" for index, (address, _, number) in enumerate(pairs))
        chosen = [[index, {"concat": [address, int(number)]}] for index, (address, _, number) in enumerate(pairs)]
        return [
            _Rule(
                f"meta l4proto {protocol} dnat ip to numgen random mod {len(texts)} map {{ {listed} }}",
                [
                    _is({"meta": {"key": "l4proto"}}, protocol),
                    {"dnat": {"family": "ip", "addr": {"map": {"key": numgen, "data": {"set": chosen}}}}},
                ],
            )
        ]
    names = [endpoints[text] for text in texts]
    source = {"payload": {"protocol": "ip", "field": "saddr"}}
    rules = [
        _Rule(
            f"ip saddr @affinity-{name} goto endpoint-{name}",
            [_is(source, f"@affinity-{name}"), {"goto": {"target": f"endpoint-{name}"}}],
        )
        for name in names
    ]
    listed = ", ".join(f"{index} : goto endpoint-{name}" for index, name in enumerate(names))
    verdicts = [[index, {"goto": {"target": f"endpoint-{name}"}}] for index, name in enumerate(names)]
    vmap = {"vmap": {"key": numgen, "data": {"set": verdicts}}}
    return [*rules, _Rule(f"numgen random mod {len(names)} vmap {{ {listed} }}", [vmap])]


# Elements and expressions


def _is(left: Json, right: object) -> Json:
    return {"match": {"op": "==", "left": left, "right": right}}


def _prefix(cidr: str) -> Json:
    address, _, length = cidr.partition("/")
    return {"prefix": {"addr": address, "len": int(length)}}


def _set_mark(operator: str) -> Json:
    mark = {"meta": {"key": "mark"}}
    return {"mangle": {"key": mark, "value": {operator: [mark, _MARK]}}}


def _plain(key: tuple[Any, ...]) -> tuple[str, Any]:
    return " . ".join(str(part) for part in key), {"concat": list(key)}


def _verdict(key: tuple[Any, ...], chain: str) -> tuple[str, Any]:
    text, value = _plain(key)
    return f"{text} : goto {chain}", [value, {"goto": {"target": chain}}]


def _dropped(entries: Sequence[tuple[tuple[Any, ...], str]]) -> tuple[tuple[str, Any], ...]:
    out = []
    for key, name in sorted(entries, key=lambda item: _order(item[0])):
        text, value = _plain(key)
        out.append((f'{text} comment "{name}" : drop', [{"elem": {"val": value, "comment": name}}, {"drop": None}]))
    return tuple(out)


def _addresses(addresses: Sequence[str]) -> tuple[tuple[str, Any], ...]:
    ordered = sorted(addresses, key=lambda address: [int(part) for part in address.split(".")])
    return tuple((address, address) for address in ordered)


def _order(key: tuple[Any, ...]) -> tuple[int, ...]:
    """nft sorts concatenations as one number whose least byte comes first."""
    order: list[int] = []
    for part in reversed(key):
        if isinstance(part, int):
            order += [part & 255, part >> 8]
        elif part in _PROTOCOLS:
            order.append(_PROTOCOLS[part])
        else:
            order += [int(piece) for piece in reversed(part.split("."))]
    return tuple(order)


def _hash(namespaced: str, protocol: str, port_name: str, endpoint: str = "") -> str:
    text = f"{namespaced}{':' + port_name if port_name else ''}{protocol}{endpoint}"
    return b32encode(sha256(text.encode()).digest()).decode()[:8]


# How they are printed


def _table_text(table: _Table) -> str:
    blocks = [*(_set_text(item) for item in table.sets), *(_chain_text(item) for item in table.chains)]
    body = "\n".join(blocks)
    return f'table {table.family} kube-proxy {{\n\tcomment "rules for kube-proxy"\n{body}}}\n'


def _set_text(item: _Set) -> str:
    lines = [f"{'map' if item.is_map else 'set'} {item.name} {{", f"\ttype {' . '.join(item.fields)}"]
    if item.is_map:
        lines[-1] += " : verdict"
    if item.timeout_s:
        lines += ["\tsize 65535", "\tflags dynamic,timeout", f"\ttimeout {item.timeout_s // 3600}h"]
    if item.comment:
        lines.append(f'\tcomment "{item.comment}"')
    if item.elements:
        texts = [text for text, _ in item.elements]
        rows = [", ".join(texts[at : at + item.lines_of]) for at in range(0, len(texts), item.lines_of)]
        lines.append("\telements = { " + ",\n\t\t\t     ".join(rows) + " }")
    return "\t" + "\n\t".join([*lines, "}"]) + "\n"


def _chain_text(chain: _Chain) -> str:
    lines = [f"chain {chain.name} {{"]
    if chain.comment:
        lines.append(f'\tcomment "{chain.comment}"')
    if chain.hook:
        kind, hook, priority, _ = chain.hook
        lines.append(f"\ttype {kind} hook {hook} priority {priority}; policy accept;")
    for rule in chain.rules:
        lines.append(f"\t{rule.text}" + (f' comment "{rule.comment}"' if rule.comment else ""))
    return "\t" + "\n\t".join([*lines, "}"]) + "\n"


def _table_objects(table: _Table) -> Iterator[Json]:
    handle = _counter()
    place = {"family": table.family}
    for item in table.sets:
        facts: Json = {**place, "name": item.name, "table": "kube-proxy"}
        facts |= {"type": item.fields[0] if len(item.fields) == 1 else list(item.fields), "handle": handle()}
        if item.comment:
            facts["comment"] = item.comment
        if item.is_map:
            facts["map"] = "verdict"
        if item.timeout_s:
            facts |= {"size": 65535, "flags": ["timeout"], "timeout": item.timeout_s}
        if item.elements:
            facts["elem"] = [value for _, value in item.elements]
        yield {"map" if item.is_map else "set": facts}
    for chain in table.chains:
        facts = {**place, "table": "kube-proxy", "name": chain.name, "handle": handle()}
        if chain.hook:
            kind, hook, _, priority = chain.hook
            facts |= {"type": kind, "hook": hook, "prio": priority, "policy": "accept"}
        yield {"chain": facts}
    for chain in table.chains:
        for rule in chain.rules:
            facts = {**place, "table": "kube-proxy", "chain": chain.name, "handle": handle()}
            if rule.comment:
                facts["comment"] = rule.comment
            yield {"rule": {**facts, "expr": rule.expressions}}


def _counter() -> Callable[[], int]:
    value = 0

    def following() -> int:
        nonlocal value
        value += 1
        return value

    return following
