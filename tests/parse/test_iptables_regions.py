"""A dump is cut up alike, whether or not another one that is nearly the same was cut up before."""

from __future__ import annotations

import random

import pytest

from kdiag.parse import iptables_regions
from kdiag.parse.iptables_cut import cut_dump
from kdiag.parse.iptables_parts import CutDump
from kdiag.parse.iptables_regions import region_of
from tests.corpus_fixtures import cluster
from tests.parse.test_iptables_cut import DUMPS, as_in_a_large_cluster, cut, dump


def parts(found: CutDump | None) -> object:
    """All that a dump was cut into, but for the numbers of forms, which count as they come."""
    if found is None:
        return None
    texts = {}
    for name in found.chains:
        text = found.text(name)
        assert text is not None
        form = (text.form.items, text.form.runs, text.form.regular)
        texts[name] = (form, text.endpoints, text.links, text.keys, text.kind, text.sent)
    assert found.endpoints is not None
    endpoints = sorted({b"KUBE-SEP-" + name for name in found.endpoints.names()})
    return (
        found.rest,
        {key: found.placed.at(key) for key in found.dispatch},
        list(found.chains.items()),
        texts,
        found.endpoints.found,
        sorted(found.endpoints.odd),
        found.declared,
        found.regions,
        list(found.excerpt([*found.chains, *endpoints], found.dispatch)),
    )


def edited(content: bytes, chance: random.Random) -> bytes:
    """Some rules or declarations deleted, doubled, swapped with the next, moved, or changed in one letter."""
    lines = content.split(b"\n")
    for _ in range(chance.randrange(1, 5)):
        rules = [index for index, line in enumerate(lines) if b"KUBE-S" in line]
        index = chance.choice(rules)
        line = lines[index]
        match chance.randrange(5):
            case 0:
                del lines[index]
            case 1:
                lines.insert(index, line)
            case 2:
                lines[index : index + 2] = [lines[index + 1], line]
            case 3:
                lines.insert(chance.choice(rules), lines.pop(index))
            case _:
                place = chance.randrange(len(line))
                lines[index] = line[:place] + chance.choice([b"A", b"2", b" ", b"\r", b"\n"]) + line[place + 1 :]
    return b"\n".join(lines)


@pytest.mark.parametrize(("name", "probe"), DUMPS)
@pytest.mark.parametrize("seed", range(60))
def test_after_a_dump_that_differs_a_little(name: str, probe: str, seed: int) -> None:
    content = as_in_a_large_cluster(dump(name, probe)) if seed % 2 else dump(name, probe)
    first = cut(content)
    other = edited(content, random.Random(seed))
    found, alone = cut_dump(other, like=first), cut_dump(other)
    keys = set(random.Random(seed).sample(sorted(first.dispatch), len(first.dispatch) // 2))
    first.unreached(keys)
    assert parts(found) == parts(alone)
    if found is not None and alone is not None:
        for some in (keys, set(alone.dispatch)):
            assert found.unreached(some) == alone.unreached(some)
            assert found.reached(some) == alone.reached(some)
        assert found.crossings.met >= alone.crossings.met
        assert found.crossings.refused >= alone.crossings.refused


@pytest.mark.parametrize(("name", "probe"), DUMPS)
def test_after_the_same_dump_no_chain_is_read(name: str, probe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = dump(name, probe)
    first = cut(content)

    def reads(*_: object) -> bool:
        raise AssertionError("a chain is read that was known")

    monkeypatch.setattr(iptables_regions, "_add_chains", reads)
    assert parts(cut_dump(content, like=first)) == parts(first)


def test_after_a_dump_with_nothing_in_common() -> None:
    first, other = dump("v1.20.2-iptables-legacy"), dump("v1.36.2-iptables-nft")
    assert parts(cut_dump(other, like=cut(first))) == parts(cut_dump(other))


def test_an_odd_chain_that_is_gone_is_forgotten() -> None:
    content = dump()
    line = next(line for line in content.split(b"\n") if line.startswith(b"-A KUBE-SEP-") and b"DNAT" in line)
    name = line.split(b" ")[1]
    odd = content.replace(line + b"\n", line + b"\n-A " + name + b" -j ACCEPT\n")
    found = cut(odd)
    assert found.endpoints is not None
    assert found.endpoints.odd == (name,)
    assert parts(cut_dump(content, like=found)) == parts(cut(content))
    assert parts(cut_dump(odd, like=cut(content))) == parts(found)


def test_of_two_nodes_of_a_cluster() -> None:
    nodes = cluster("v1.36.2-iptables-nft").nodes
    first, other = (nodes[name]["iptables-save"].content for name in ("node01", "node02"))
    assert first != other
    assert parts(cut_dump(other, like=cut(first))) == parts(cut_dump(other))


@pytest.mark.parametrize("seed", range(100))
def test_a_region_is_all_lines_that_begin_alike_and_follow_each_other(seed: int) -> None:
    chance = random.Random(seed)
    parts = []
    for beginning in (b"A", b"B ", b"C"):
        sizes = [chance.choice([0, 9, 70, 5000, 20_000]) for _ in range(chance.choice([0, 1, 3, 300]))]
        parts.append(b"".join([beginning + b"x" * size + b"\n" for size in sizes]))
    content = b"\n" + b"".join(parts) + b"\n"
    start = 1 + len(parts[0])
    expected = (start, start + len(parts[1])) if parts[1] else None
    assert region_of(content, b"B ", [(1, len(content))]) == expected


@pytest.mark.parametrize("beginning", [b":KUBE-SEP-", b"-A KUBE-SVC-", b"-A KUBE-SERVICES -d", b"-A KUBE-SEP-"])
@pytest.mark.parametrize("seed", range(20))
def test_what_stands_apart_from_its_kind_is_found(beginning: bytes, seed: int) -> None:
    lines = dump().split(b"\n")
    line = lines.pop(next(index for index, line in enumerate(lines) if line.startswith(beginning)))
    nat = lines.index(b"*nat") + 1
    ends = lines.index(b"COMMIT", nat)
    others = [index for index in range(nat, ends) if beginning[:10] not in lines[index] + lines[index - 1]]
    lines.insert(random.Random(seed).choice(others), line)
    assert cut_dump(b"\n".join(lines)) is None
