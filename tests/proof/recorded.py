"""Recorded nodes rebuilt in the lab: their rules are loaded, and packets go to the Service addresses."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import random
import re
from dataclasses import dataclass
from functools import cache

from kdiag.model.addresses import Family, parse_address
from kdiag.model.dataplane import Position
from kdiag.parse.iptables_save import parse_iptables_save
from kdiag.pipeline.viewing import build_view
from tests.corpus_fixtures import HEALTHY_IPTABLES, cluster
from tests.proof.edits import other_address
from tests.proof.lab import Site
from tests.proof.packets import NUMBERS, Packet

NFT_CLUSTER = "v1.36.2-nftables-nft"
NODE = "node01"
PROBES = {Family.IPV4: "iptables-save", Family.IPV6: "ip6tables-save"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One family of a recorded node: its rules as printed, and the addresses that clients use."""

    name: str
    family: Family
    backend: str
    text: str
    targets: tuple[tuple[str, str, int], ...]
    """Address, protocol and port."""


def in_order(text: str) -> str:
    """The objects of `nft -j list ruleset` so that each stands after those that it names: `nft -j -f` wants that."""
    kinds = ("metainfo", "table", "counter", "chain", "set", "map", "element", "rule")
    objects = [item for item in json.loads(text)["nftables"] if next(iter(item)) in kinds]
    return json.dumps({"nftables": sorted(objects, key=lambda item: kinds.index(next(iter(item))))})


@cache
def recorded() -> tuple[Recorded, ...]:
    """Node node01 of every healthy cluster in iptables and nftables mode."""
    found = []
    for name in (*HEALTHY_IPTABLES, NFT_CLUSTER):
        snapshot = cluster(name)
        node = build_view(snapshot, nodes=(NODE,))[0].node_by_name[NODE]
        assert node.expected is not None
        for family in Family:
            targets = sorted(
                {
                    (str(item.address), str(item.protocol), item.port)
                    for item in node.expected.behaviours
                    if item.family is family and not item.address.is_loopback
                }
            )
            if not targets:
                continue
            if name == NFT_CLUSTER:
                backend, text = "native", in_order(snapshot.nodes[NODE]["nft-j-list-ruleset"].text())
            else:
                backend = "legacy" if name.endswith("legacy") else "nft"
                # nfacct counts, and needs objects that a dump does not show.
                text = re.sub(r" -m nfacct --nfacct-name +\S+", "", snapshot.nodes[NODE][PROBES[family]].text())
            found.append(Recorded(name=name, family=family, backend=backend, text=text, targets=tuple(targets)))
    return tuple(found)


def _endpoints(item: Recorded) -> set[str]:
    """Every address that the rules name for a packet to go to."""
    if item.backend == "native":
        words = {word.strip('",[]{}') for word in item.text.replace('"', " ").split()}
        return {word for word in words if _is_host(word, item.family)}
    ruleset = parse_iptables_save(item.text, family=item.family, source="recorded")
    found = set()
    for table in ruleset.tables.values():
        for chain in table.chains.values():
            for rule in chain.rules:
                for option in rule.target_options:
                    if option.name == "to-destination":
                        head = option.values[0].rpartition(":")[0].strip("[]")
                        if _is_host(head, item.family):
                            found.add(head)
    return found


def _is_host(word: str, family: Family) -> bool:
    address = parse_address(word)
    return address is not None and (address.version == 4) is (family is Family.IPV4) and not address.is_loopback


RECORDED_SITES = {
    Family.IPV4: Site(
        family=Family.IPV4,
        prefix_length=24,
        bridge="10.244.1.1",
        pods=("10.244.1.250", "10.244.1.251"),
        server="10.244.1.252",
        node_outside="192.168.56.11",
        outside=("192.168.56.250", "192.168.56.251"),
        node_backend="172.31.255.1",
        backends=("172.31.255.2", "172.31.255.3"),
        services=(),
        node_extra="172.31.254.1",
        foreign_source="192.168.56.77",
    ),
    Family.IPV6: Site(
        family=Family.IPV6,
        prefix_length=64,
        bridge="fd00:10:244:1::1",
        pods=("fd00:10:244:1::fa", "fd00:10:244:1::fb"),
        server="fd00:10:244:1::fc",
        node_outside="fd00:192:168:56::11",
        outside=("fd00:192:168:56::fa", "fd00:192:168:56::fb"),
        node_backend="fd00:31::1",
        backends=("fd00:31::2", "fd00:31::3"),
        services=(),
        node_extra="fd00:31:1::1",
        foreign_source="fd00:192:168:56::77",
    ),
}


@cache
def sites() -> dict[Family, Site]:
    """The recorded node's surroundings: every endpoint and every Service address is somewhere."""
    found = {}
    for family, site in RECORDED_SITES.items():
        pods = ipaddress.ip_network(f"{site.bridge}/{site.prefix_length}", strict=False)
        outside = ipaddress.ip_network(f"{site.node_outside}/{site.prefix_length}", strict=False)
        named: set[str] = set()
        services: set[str] = set()
        for item in recorded():
            if item.family is family:
                endpoints = _endpoints(item)
                # An edit may send packets to the address beside one.
                named |= endpoints | {other_address(text) for text in endpoints}
                named |= {target[0] for target in item.targets}
                services |= {target[0] for target in item.targets}
        named -= {site.bridge, site.node_outside, *site.pods, *site.outside, site.server}
        groups: dict[str, list[str]] = {"pods": [], "outside": [], "backends": []}
        for text in sorted(named):
            address = ipaddress.ip_address(text)
            if address.is_multicast or address.is_unspecified or text.endswith((".0", "::")):
                continue
            # An external address lies in the network outside, but no machine there has it.
            place = (
                "pods" if address in pods else "outside" if address in outside and text not in services else "backends"
            )
            groups[place].append(text)
        found[family] = dataclasses.replace(
            site,
            more_pods=tuple(groups["pods"]),
            more_outside=tuple(groups["outside"]),
            more_backends=tuple(groups["backends"]),
        )
    return found


def packets_to(item: Recorded, rng: random.Random, most: int) -> list[Packet]:
    """A packet from each source to each target, or a sample of so many."""
    site = sites()[item.family]
    by_name = {str(protocol): protocol for protocol in NUMBERS}
    every = [
        Packet(position=position, source=source, destination=address, protocol=by_name[protocol], port=number)
        for address, protocol, number in item.targets
        for position in Position
        for source in site.clients(position)[:2]
    ]
    return sorted(rng.sample(every, min(most, len(every))))
