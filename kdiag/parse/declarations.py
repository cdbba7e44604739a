"""The declarations of chains: `:KUBE-SEP-… - [0:0]`.

They are in the same order as the chains' rules, so in a further dump they differ from those of the first one where rules do.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from kdiag.parse.chain_merge import Alike, Span
from kdiag.parse.service_words import HASH_LENGTH

# Nearly all lines are like each other: those are read first, as many as follow each other.
_DECLARED = re.compile(
    rb":(KUBE-[A-Z]+-)[!-~]++ [!-~]++ \[\d++:\d++\]\n"
    rb"(?:(?::\1[!-~]{16} - \[0:0\]\n)++|:\1[!-~]++ [!-~]++ \[\d++:\d++\]\n)*+"
)
_USUAL = b":%b - [0:0]\n"
_STEPS = 50
"""How far, in lines, a declaration is looked for from where it should be."""


class Declared(NamedTuple):
    """A dump, and where the declarations of one kind stand in it."""

    content: bytes
    region: Span


def declares_only(kind: bytes, content: bytes, region: Span) -> bool:
    """True if all lines of a region declare chains of this kind."""
    found = _DECLARED.fullmatch(content, *region)
    return found is not None and found[1] == kind


def declared_alike(kind: bytes, old: Declared, new: Declared, rules: Alike) -> Alike | None:
    """In which lines the declarations of a kind differ, if that is where the rules of the chains do: each that was added or
    removed has a declaration of the usual form. None if there are others, or if it is not found.
    """
    content, (at, stop) = old
    new_content, (new_at, new_stop) = new
    view = memoryview(content)
    length = len(kind) + HASH_LENGTH
    size = len(_USUAL % bytes(length))
    lines_a_byte = (stop - at) / size / (rules.old[1] - rules.old[0])
    last = rules.old[0]
    pairs: list[tuple[Span, Span]] = []
    for (gone, gone_end), (come, come_end) in rules.pairs:
        removed = content[gone + 3 : gone + 3 + length] if gone < gone_end else b""
        added = new_content[come + 3 : come + 3 + length] if come < come_end else b""
        if removed == added:
            continue
        name = removed or added
        place = _place_of(name, content, (at, stop), round((gone - last) * lines_a_byte), size)
        if place is None or not new_content.startswith(view[at:place], new_at):
            return None
        new_place, line = new_at + place - at, _USUAL % name
        at, new_at = place + size * bool(removed), new_place + size * (not removed)
        if line != (content[place:at] if removed else new_content[new_place:new_at]):
            return None
        pairs.append(((place, at), (new_place, new_at)))
        last = gone_end
    if stop - at != new_stop - new_at or not new_content.startswith(view[at:stop], new_at):
        return None
    return Alike(old.region, new.region, pairs)


def _place_of(name: bytes, content: bytes, within: Span, lines: int, size: int) -> int | None:
    """Where in sorted lines of this size a name is declared, or should be; it should be about so many lines from the first."""
    at, stop = within
    place = min(at + lines * size, stop)
    for _ in range(_STEPS):
        if place < stop and content[place + 1 : place + 1 + len(name)] < name:
            place += size
        elif place > at and content[place + 1 - size : place + 1 - size + len(name)] >= name:
            place -= size
        else:
            return place if place == at or content[place - 1 : place] == b"\n" else None
    return None
