"""What kdiag prints about a recorded cluster in which a check has something to say: one file a code, written by `make docs`.

tests/examples holds the clusters, and fails while a file is not what kdiag prints today.
"""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

DIRECTORY = Path(__file__).parent


class CheckExample(Struct, frozen=True, kw_only=True):
    """`told` says what was done to the cluster (Markdown), `console` is the command after `$ ` and what it printed."""

    told: str
    console: str


def example_of(code: str) -> CheckExample:
    """The example of a check."""
    text = (DIRECTORY / f"{code}.txt").read_text(encoding="utf-8")
    told, _, console = text.partition("\n\n$ ")
    return CheckExample(told=told, console=f"$ {console}".rstrip())
