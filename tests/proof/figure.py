"""What a part of the proof hands back: how much was tried, how much of it was wrong.

A part is a module here with `def run(budget_s: float, seed: int) -> Figure`. It stops of itself when about `budget_s`
seconds are over, prints nothing, and changes nothing outside of what it made. The same seed tries the same things in
the same order; the budget tells how many of them. `tests.proof` asks all parts (`make proof`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the proof.

    `name` says what was tried ("ruleset x packet pairs"), `tried` how many, `wrong` how many of them kdiag got wrong:
    the proof holds if that is 0 and `tried` is at least `wanted`. `details` are lines of Markdown text, each one fact
    (a figure of one recording, a known limit); `complaints` tell what went wrong, one text each, enough to repeat it.
    `not_here` says why the part cannot run on this machine; such a proof does not hold.
    """

    name: str
    tried: int
    wrong: int
    details: tuple[str, ...] = ()
    complaints: tuple[str, ...] = ()
    wanted: int = 1
    not_here: str | None = None

    @property
    def holds(self) -> bool:
        """True if as much was tried as was wanted, and nothing was wrong."""
        return self.not_here is None and self.wrong == 0 and self.tried >= self.wanted


Part = Callable[[float, int], Figure]
"""Runs for about so many seconds, with this seed."""
