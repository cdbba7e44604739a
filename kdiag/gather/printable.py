"""Text from strangers, fit for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Text from a stranger without what would move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
