"""Dumps cut up: nothing is lost, and what is not of the usual form is not cut."""

from __future__ import annotations

import random

import pytest

from kdiag.model.addresses import Family
from kdiag.parse.dispatch_lines import Key
from kdiag.parse.iptables_cut import CutDump, cut_dump
from kdiag.parse.iptables_save import parse_iptables_save, parse_lines
from tests.corpus_fixtures import cluster

DUMPS = [
    ("v1.20.2-iptables-legacy", "iptables-save"),
    ("v1.36.2-iptables-nft", "iptables-save"),
    ("dual-v1.36.2-iptables-nft", "ip6tables-save"),
]


def dump(name: str = "v1.36.2-iptables-nft", probe: str = "iptables-save") -> bytes:
    return cluster(name).nodes["node01"][probe].content


def cut(content: bytes) -> CutDump:
    found = cut_dump(content)
    assert found is not None
    return found


def everything(found: CutDump) -> tuple[list[bytes], list[Key]]:
    assert found.endpoints is not None
    hashes = [b"KUBE-SEP-" + name for places in found.endpoints.found.values() for name in places]
    return [*found.chains, *hashes, *found.endpoints.odd], list(found.dispatch)


@pytest.mark.parametrize(("name", "probe"), DUMPS)
def test_an_excerpt_of_everything_is_the_dump(name: str, probe: str) -> None:
    content = dump(name, probe)
    found = cut(content)
    chains, keys = everything(found)
    assert list(found.excerpt(chains, [])) != list(found.excerpt(chains, keys))
    lines = list(enumerate(content.decode().split("\n")[:-1], start=1))
    assert list(found.excerpt(chains, found.dispatch)) == lines


@pytest.mark.parametrize(("name", "probe"), DUMPS)
def test_a_part_is_read_like_the_whole(name: str, probe: str) -> None:
    content = dump(name, probe)
    found = cut(content)
    family = Family.IPV6 if probe.startswith("ip6") else Family.IPV4
    chains, keys = everything(found)
    some = random.Random(1).sample(chains, 9)
    part = parse_lines(found.excerpt(some, keys[:3]), family=family, source="x")
    whole = parse_iptables_save(content.decode(), family=family, source="x")
    assert {chain.decode() for chain in some} <= part.tables["nat"].chains.keys()
    for chain in some:
        assert part.chain("nat", chain.decode()) == whole.chain("nat", chain.decode())
    assert part.tables["filter"].chains.keys() == whole.tables["filter"].chains.keys()
    assert part.complete


def test_what_is_reached_holds_the_chains_of_the_endpoints() -> None:
    found = cut(dump())
    key = (b"10.96.0.10", b"udp", b"53")
    reached = found.reached([key])
    assert sorted(name[:9] for name in reached) == [b"KUBE-SEP-", b"KUBE-SEP-", b"KUBE-SVC-"]
    assert found.reached([key], endpoints=False) < reached


def moved(content: bytes, beginning: bytes) -> bytes:
    """The first line with this beginning put behind a line of another chain."""
    lines = content.split(b"\n")
    line = lines.pop(next(index for index, line in enumerate(lines) if line.startswith(beginning)))
    lines.insert(1 + next(index for index, other in enumerate(lines) if other.startswith(b"-A KUBE-SVC-")), line)
    return b"\n".join(lines)


@pytest.mark.parametrize(
    "odd",
    [
        dump()[:-30],
        dump().replace(b"\nCOMMIT\n", b"\n", 1),
        dump() + dump(),
        dump().replace(b"\n", b"\r\n"),
        moved(dump(), b"-A KUBE-SEP-"),
        moved(dump(), b"-A KUBE-SERVICES -d 10.96"),
        dump().replace(b"-j KUBE-SVC-", b"-j KUBE-SVC-X-"),
        b"",
        b"*filter\nCOMMIT\n",
    ],
    ids="cut-off no-commit twice crlf endpoint-moved dispatch-moved odd-name empty no-nat".split(),
)
def test_what_is_not_of_the_form_is_not_cut(odd: bytes) -> None:
    assert cut_dump(odd) is None


def test_a_chain_of_an_endpoint_that_is_like_no_other_is_odd() -> None:
    content = dump()
    place = content.index(b"-A KUBE-SEP-")
    name = content[place + 3 : place + 28]
    found = cut(content[:place] + b"-A " + name + b" -j ACCEPT\n" + content[place:])
    assert found.endpoints is not None
    assert found.endpoints.odd == (name,)
    lines = [text for _, text in found.excerpt([name], []) if f"-A {name.decode()}" in text]
    assert len(lines) == 3
