"""What damages a recording: one edit of one file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

OTHER_PROTOCOL = {"tcp": "udp", "udp": "tcp", "sctp": "tcp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One way to damage a file. `kind` says in which way, `place` where (a line, an object), `label` what stood there.

    `make` returns the whole damaged text; it is only worked out for those that are tried.
    """

    kind: str
    place: str
    label: str
    make: Callable[[], str]


def other_address(address: str) -> str:
    """An address beside this one, which nothing in the recordings has."""
    head, separator, last = address.rpartition(":" if ":" in address else ".")
    return f"{head}{separator}{'77' if last != '77' else '78'}"


def replaced(lines: Sequence[str], start: int, end: int, *new: str) -> Callable[[], str]:
    """Lines `start` to `end` (not included) replaced by others."""
    return lambda: "\n".join((*lines[:start], *new, *lines[end:])) + "\n"
