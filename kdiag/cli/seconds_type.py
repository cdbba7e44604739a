"""The type of options that are a number of seconds, for click."""

from __future__ import annotations

from typing import Any

import click

LONGEST_S = 1e9
"""Some thirty years: clocks and time-outs overflow at a few times that."""


class SecondsType(click.FloatRange):
    """A number of seconds that clocks can hold. click takes `nan` for one in every range, as no comparison says otherwise."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        """Raises click.BadParameter, as click wants it."""
        found = float(super().convert(value, parameter, context))
        if not found <= LONGEST_S:
            self.fail(f"{found} is not a number of seconds up to {LONGEST_S:.0f}", parameter, context)
        return found
