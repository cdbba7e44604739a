"""Dumps cut up: nothing is lost, and what is not of the usual form is not cut."""

from __future__ import annotations

import random
import re

import pytest
from msgspec import structs

from kdiag.model.addresses import Family
from kdiag.parse.iptables_cut import cut_dump
from kdiag.parse.iptables_parts import CutDump
from kdiag.parse.iptables_save import parse_iptables_save, parse_lines
from kdiag.parse.service_words import COMMENT, Key
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


def as_in_a_large_cluster(content: bytes) -> bytes:
    """The same as kube-proxy writes it where there are more than 1,000 endpoints."""
    lines = content.split(b"\n")
    return b"\n".join([COMMENT.sub(b"", line) if b"KUBE-SEP-" in line else line for line in lines])


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
    assert found.unreached([key]) == reached & found.chains.keys()
    assert not found.unreached([])


@pytest.mark.parametrize(("name", "probe"), DUMPS)
def test_where_chains_send_packets_to_is_what_the_rules_say(name: str, probe: str) -> None:
    content = as_in_a_large_cluster(dump(name, probe))
    found = cut(content)
    sent = [(chain, text.sent) for chain in found.chains if (text := found.text(chain)) and text.endpoints]
    assert len(sent) > 5
    for chain, there in sent:
        names = dict.fromkeys(found.endpoint_names(chain))
        told = [re.findall(rb"-A KUBE-SEP-%b -p (\w+).* --to-destination (.*)" % name, content) for name in names]
        assert there is not None
        assert [(there.protocol, place) for place in there.places.split(b"\n")] == [pair for (pair,) in told]


def test_a_dump_with_which_none_is_compared_is_cut_alike() -> None:
    content = as_in_a_large_cluster(dump())
    one, other = cut(content), cut_dump(content, alone=True)
    assert other is not None
    for chain in one.chains:
        text, known = one.text(chain), other.text(chain)
        assert text is not None
        assert known == structs.replace(text, endpoints=())
    assert other.texts() == one.texts()
    assert other.crossings == one.crossings
    assert other.reached(other.dispatch) == one.reached(one.dispatch)


def test_an_endpoint_at_a_refused_address_is_a_crossing() -> None:
    content = dump()
    found = cut(content)
    assert not found.crossings.refused
    place = re.findall(rb"--to-destination ([0-9.]+):(\d+)", content)[0]
    line = b"-A KUBE-SERVICES -d %b/32 -p tcp -m tcp --dport %b -j REJECT\n" % place
    filters = content.index(b"-A KUBE-SERVICES", content.index(b"\n*filter\n") + 1)
    crossed = cut(content[:filters] + line + content[filters:]).crossings
    assert crossed.refused == {(b"tcp", b"%b:%b" % place)}
    assert crossed.met == {*found.crossings.met, (place[0], b"tcp", place[1])}


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
        dump().replace(b" -j KUBE-MARK-MASQ\n-A KUBE-SEP-", b" -j KUBE-MARK-MASQ\r\n-A KUBE-SEP-", 1),
        dump().replace(b" -j KUBE-SEP-", b"\r -j KUBE-SEP-", 1),
        dump().replace(b"\n-A KUBE-SVC-", b"\n*filter\nCOMMIT\n-A KUBE-SVC-", 9),
        dump().replace(b"*nat", b"*nut"),
        moved(dump(), b"-A KUBE-SEP-"),
        moved(dump(), b"-A KUBE-SERVICES -d 10.96"),
        dump().replace(b"-j KUBE-SVC-", b"-j KUBE-SVC-X-"),
        b"",
        b"*filter\nCOMMIT\n",
    ],
    ids="cut-off no-commit twice crlf cr-endpoint cr-service table-inside nut endpoint-moved dispatch-moved odd-name empty no-nat".split(),
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


@pytest.mark.parametrize("like", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_a_dump_that_is_cut_off_is_not_cut_up(seed: int, like: bool) -> None:
    content, chance = dump(), random.Random(seed)
    other = cut_dump(content) if like else None
    for _ in range(60):
        end = chance.randrange(len(content) - 200)
        assert cut_dump(content[:end], like=other) is None
        assert cut_dump(content[: content.rfind(b"\n", 0, end) + 1], like=other) is None


@pytest.mark.parametrize("seed", range(12))
def test_damage_of_any_sort(seed: int) -> None:
    """What is cut up all the same has every rule somewhere."""
    content, chance = dump(), random.Random(seed)
    other = cut_dump(content)
    for _ in range(40):
        damaged = bytearray(content)
        for _ in range(chance.choice([1, 1, 2, 5])):
            place, size = chance.randrange(len(damaged)), chance.choice([0, 1, 1, 3, 40, 2000])
            new = chance.choice(
                [b"", b"\n", b"\r", b" ", b"*", b":", b"-A ", b"\x00", b'"', b"COMMIT\n", b"KUBE-SEP-", b"9"]
            )
            damaged[place : place + size] = new
        for like in (None, other):
            found = cut_dump(bytes(damaged), like=like)
            if found is not None:
                lines = [text for _, text in found.excerpt(*everything(found)) if text.startswith("-A ")]
                assert lines == re.findall("^-A .*", bytes(damaged).decode(errors="replace"), re.MULTILINE)
