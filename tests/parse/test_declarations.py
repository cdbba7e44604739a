"""Declarations that differ where rules do are known to be declarations: never if reading them says otherwise."""

from __future__ import annotations

import random

import pytest

from kdiag.parse.chain_merge import Alike, differing_chains
from kdiag.parse.declarations import Declared, declared_alike, declares_only
from tests.parse.test_chain_merge import kept

KIND = b"KUBE-SEP-"


def names(chance: random.Random, most: int) -> set[bytes]:
    return {KIND + bytes(chance.choices(b"ABCXYZ234567", k=16)) for _ in range(chance.randrange(1, most))}


def rules_of(chains: set[bytes], *, but: bytes = b"") -> bytes:
    """Rules of these chains; of those whose names end with `but`, others."""
    lines = []
    for name in sorted(chains):
        other = b" -m recent" * bool(but and name.endswith(but))
        lines.append(b"-A %b -s 10.0.0.%d/32\n-A %b%b -j DNAT\n" % (name, name[-1], name, other))
    return b"".join(lines)


def declared(chains: set[bytes]) -> bytes:
    return b"".join([b":%b - [0:0]\n" % name for name in sorted(chains)])


def compared(lines: bytes, rules: bytes, new_lines: bytes, new_rules: bytes) -> Alike | None:
    """What differs in the declarations of two dumps, with their places in these."""
    old, new = lines + rules, new_lines + new_rules
    regions = (len(lines), len(old)), (len(new_lines), len(new))
    alike = Alike(*regions, list(differing_chains(old, regions[0], new, regions[1])))
    return declared_alike(KIND, Declared(old, (0, len(lines))), Declared(new, (0, len(new_lines))), alike)


def changed(chance: random.Random, chains: set[bytes]) -> set[bytes]:
    gone = chance.sample(sorted(chains), chance.randrange(len(chains)) // 3)
    return (chains - set(gone)) | names(chance, 8)


@pytest.mark.parametrize("seed", range(200))
def test_what_differs_is_what_was_added_or_removed(seed: int) -> None:
    chance = random.Random(seed)
    old = names(chance, 400)
    new = changed(chance, old)
    lines, new_lines = declared(old), declared(new)
    found = compared(lines, rules_of(old), new_lines, rules_of(new, but=chance.choice([b"", b"2"])))
    if found is None:
        # What stands behind the last chain of one dump is told as one piece: chains behind it are not looked for.
        assert len({name for name in old ^ new if name > min(max(old), max(new))}) > 1
        return
    assert b"".join([lines[start:end] for (start, end), _ in found.pairs]) == declared(old - new)
    assert b"".join([new_lines[start:end] for _, (start, end) in found.pairs]) == declared(new - old)
    old_spans, new_spans = [old for old, _ in found.pairs], [new for _, new in found.pairs]
    assert kept(lines, found.old, old_spans) == kept(new_lines, found.new, new_spans)


@pytest.mark.parametrize("seed", range(400))
def test_of_any_lines_those_are_not_taken_that_declare_nothing(seed: int) -> None:
    chance = random.Random(seed)
    old = names(chance, 60)
    new = changed(chance, old)
    lines, new_lines = declared(old), bytearray(declared(new))
    for _ in range(chance.randrange(1, 3)):
        place = chance.randrange(len(new_lines))
        match chance.randrange(4):
            case 0:
                new_lines[place] = chance.choice(b"A: \n-")
            case 1:
                new_lines[place:place] = chance.choice([b"\n", b"A", b":KUBE-SEP-A - [0:0]\n"])
            case 2:
                del new_lines[place : place + chance.choice([1, 35, 70])]
            case _:
                start = place // 35 * 35
                new_lines[start : start + 35] = new_lines[start : start + 35] * chance.choice([0, 2])
    content = bytes(new_lines)
    found = compared(lines, rules_of(old), content, rules_of(new))
    if found is not None:
        assert declares_only(KIND, content, (0, len(content)))
        old_spans, new_spans = [old for old, _ in found.pairs], [new for _, new in found.pairs]
        assert kept(lines, found.old, old_spans) == kept(content, found.new, new_spans)
