"""A short slice of the proof's first two figures: `make proof` runs the long form."""

from __future__ import annotations

import pytest

from tests.proof import kernel, mutations
from tests.proof.__main__ import headline, page
from tests.proof.figure import Figure
from tests.proof.lab import why_not


def test_packets_end_where_the_walk_says() -> None:
    if why_not() is not None:
        pytest.skip(str(why_not()))
    figure = kernel.run(6.0, 7)
    if figure.not_here is not None:
        pytest.skip(figure.not_here)
    assert figure.complaints == ()
    assert figure.wrong == 0
    assert figure.tried > 1000


def test_what_changes_a_fate_is_told_in_every_recording() -> None:
    figure = mutations.run(0.0, 7)
    assert figure.complaints == ()
    assert figure.tried == len(mutations.SUBJECTS)
    assert figure.holds


def test_a_figure_holds_only_if_enough_was_tried_and_nothing_was_wrong() -> None:
    assert Figure("things", 10, 0, wanted=10).holds
    assert not Figure("things", 9, 0, wanted=10).holds
    assert not Figure("things", 10, 1).holds
    assert not Figure("things", 10, 0, not_here="no root").holds
    assert headline("Fuzz", Figure("things", 1000, 0)) == "Fuzz: 1,000 things, 0 wrong"


def test_the_page_shows_figures_and_what_is_wrong() -> None:
    text = page([("Fuzz", "No crash.", Figure("things", 10, 1, ("a fact",), ("it broke\nhere",)))], 1, 10.0)
    assert "**Fuzz: 10 things, 1 wrong.**" in text
    assert "* a fact" in text
    assert "* `it broke`" in text
    assert "\n\n\n" not in text
