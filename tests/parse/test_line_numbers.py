"""Line numbers of a large text, asked for in any order."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from kdiag.parse.chain_merge import Alike, Span, differing_chains
from kdiag.parse.line_numbers import LineNumbers, LineNumbersAfter


def test_numbers_are_those_of_counting_from_the_start() -> None:
    chance = random.Random(1)
    content = b"\n".join(b"x" * chance.choice((0, 1, 70, 3000, 200_000)) for _ in range(200)) + b"\n"
    lines = LineNumbers(content)
    asked = [0, len(content), *(chance.randrange(len(content)) for _ in range(300)), 1 << 16, (1 << 16) - 1, 2]
    for position in asked:
        assert lines.at(position) == content.count(b"\n", 0, position) + 1


def test_an_empty_text_has_one_line() -> None:
    assert LineNumbers(b"").at(0) == 1


def regions(chance: random.Random, parts: list[bytes]) -> tuple[bytes, list[Span]]:
    """A text with these parts in it, and where they stand."""
    content, found = b"", []
    for part in parts:
        content += b"x\n" * chance.choice([0, 1, 9, 9000])
        found.append((len(content), len(content) + len(part)))
        content += part
    return content + b"y\n" * chance.randrange(3), found


@pytest.mark.parametrize("seed", range(200))
def test_numbers_after_another_text_are_those_of_counting(seed: int) -> None:
    chance = random.Random(seed)
    rules = [b"-A %d %b\n" % (name, b"-j X" * chance.randrange(3)) for name in range(100, 400) for _ in range(3)]
    parts = [rules, rules[::-1], [], rules[:400]]
    edited = []
    for part in parts:
        changed = list(part)
        for _ in range(chance.randrange(6)):
            place = chance.randrange(len(changed) + 1)
            changed[place : place + chance.choice([0, 1, 300])] = [b"-A %d\n" % place] * chance.choice([0, 1, 4, 2000])
        edited.append(changed)
    order = chance.sample(range(len(parts)), len(parts))
    other, old = regions(chance, [b"".join(part) for part in parts])
    content, new = regions(chance, [b"".join(edited[index]) for index in order])
    alike = [
        Alike(old[index], place, list(differing_chains(other, old[index], content, place)))
        for index, place in zip(order, new, strict=True)
    ]
    lines = LineNumbersAfter(content, other, LineNumbers(other), chance.sample(alike, chance.randrange(1, 5)))
    edges = [end for region in alike for _, span in (*region.pairs, (None, region.new)) for end in span]
    for position in (0, len(content), *edges, *(chance.randrange(len(content) + 1) for _ in range(300))):
        assert lines.at(position) == content.count(b"\n", 0, position) + 1


@pytest.mark.parametrize("seed", range(20))
def test_lines_that_were_counted_before_are_not_counted_again(seed: int) -> None:
    chance = random.Random(seed)
    content = b"".join(b"x" * chance.choice((0, 1, 70, 3000)) + b"\n" for _ in range(400))
    ends = sorted(chance.sample([place + 1 for place, byte in enumerate(content) if byte == 10], 40))
    spans = [(start, end) for start, end in pairwise(ends) if chance.random() < 0.6]
    counted = [(span, content.count(b"\n", *span)) for span in chance.sample(spans, len(spans))]
    lines = LineNumbers(content, counted)
    for position in (len(content), *ends, 0, *(chance.randrange(len(content)) for _ in range(300))):
        assert lines.at(position) == content.count(b"\n", 0, position) + 1
    (start, end), known = counted[0]
    off = LineNumbers(content, [((start, end), known + 5)])
    assert off.at(len(content)) == content.count(b"\n") + 6
