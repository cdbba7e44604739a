"""What a command of the command line is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command: `function` has the options as annotated parameters and returns the exit code.

    `summary` is one line for the list of commands, `details` paragraphs for its own help, `examples` what to type (without
    the program's name) and what that does: each is a line that works as it stands, given a cluster.
    """

    slug: str
    summary: str
    details: str
    function: Callable[..., int]
    examples: tuple[tuple[str, str], ...] = ()
