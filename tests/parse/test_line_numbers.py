"""Line numbers of a large text, asked for in any order."""

from __future__ import annotations

import random

from kdiag.parse.line_numbers import LineNumbers


def test_numbers_are_those_of_counting_from_the_start() -> None:
    chance = random.Random(1)
    content = b"\n".join(b"x" * chance.choice((0, 1, 70, 3000, 200_000)) for _ in range(200)) + b"\n"
    lines = LineNumbers(content)
    asked = [0, len(content), *(chance.randrange(len(content)) for _ in range(300)), 1 << 16, (1 << 16) - 1, 2]
    for position in asked:
        assert lines.at(position) == content.count(b"\n", 0, position) + 1


def test_an_empty_text_has_one_line() -> None:
    assert LineNumbers(b"").at(0) == 1
