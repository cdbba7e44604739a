"""Merging two regions of chains finds what a plain comparison of all chains finds."""

from __future__ import annotations

import random

import pytest

from kdiag.parse.chain_merge import differing_chains

Chains = dict[bytes, bytes]


def made(chance: random.Random, most: int) -> Chains:
    """Chains of one to four rules each, sorted by name; some rules are alike, some names begin alike."""
    names = {bytes(chance.choices(b"ABZ27", k=chance.randrange(1, 4))) for _ in range(chance.randrange(most))}
    return {b"-A KUBE-SEP-" + name + b" ": body(chance, name) for name in sorted(names)}


def body(chance: random.Random, name: bytes) -> bytes:
    beginning = b"-A KUBE-SEP-" + name + b" "
    rules = [
        beginning + chance.choice((b"-j A", b"-j B", b"-s 10.0.0.1/32 -j A")) for _ in range(chance.randrange(1, 5))
    ]
    return b"".join(rule + b"\n" for rule in rules)


def edited(chance: random.Random, chains: Chains) -> Chains:
    found = dict(chains)
    for _ in range(chance.randrange(5)):
        if found and chance.random() < 0.5:
            found.pop(chance.choice(list(found)))
        else:
            name = bytes(chance.choices(b"ABZ27", k=chance.randrange(1, 4)))
            found[b"-A KUBE-SEP-" + name + b" "] = body(chance, name)
    return dict(sorted(found.items()))


def between(chance: random.Random, chains: Chains) -> tuple[bytes, tuple[int, int]]:
    """A dump that has these chains, and where: what stands around them may look like more of them."""
    before, text = chance.choice((b"", b"x\n", b"-A KUBE-SEP-ZZZ -j A\n")), b"".join(chains.values())
    after = chance.choice((b"", b"COMMIT\n", b"-A KUBE-SEP-ZZZ -j B\n"))
    return before + text + after, (len(before), len(before) + len(text))


@pytest.mark.parametrize("seed", range(300))
def test_equals_a_plain_comparison(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(10):
        old = made(chance, chance.choice((3, 20, 60)))
        new = edited(chance, old) if chance.random() < 0.8 else made(chance, 20)
        (old_dump, old_region), (new_dump, new_region) = between(chance, old), between(chance, new)
        pairs = list(differing_chains(old_dump, old_region, new_dump, new_region))
        gone = b"".join(old_dump[start:end] for (start, end), _ in pairs)
        come = b"".join(new_dump[start:end] for _, (start, end) in pairs)
        assert gone == b"".join(text for name, text in old.items() if new.get(name) != text)
        assert come == b"".join(text for name, text in new.items() if old.get(name) != text)
        assert kept(old_dump, old_region, [pair[0] for pair in pairs]) == kept(
            new_dump, new_region, [pair[1] for pair in pairs]
        )


@pytest.mark.parametrize("seed", range(50))
def test_of_any_two_texts_the_rest_is_the_same(seed: int) -> None:
    chance = random.Random(seed)
    texts = [
        b"".join(line + b"\n" for line in chance.choices((b"-A X 1", b"-A X 2", b"-A Y 1", b"", b"junk"), k=8))
        for _ in "ab"
    ]
    old, new = texts
    pairs = list(differing_chains(old, (0, len(old)), new, (0, len(new))))
    assert kept(old, (0, len(old)), [pair[0] for pair in pairs]) == kept(
        new, (0, len(new)), [pair[1] for pair in pairs]
    )


def kept(content: bytes, region: tuple[int, int], spans: list[tuple[int, int]]) -> list[bytes]:
    """What stands between the spans."""
    position, parts = region[0], []
    for start, end in spans:
        assert position <= start <= end <= region[1]
        parts.append(content[position:start])
        position = end
    return [part for part in (*parts, content[position : region[1]]) if part]
