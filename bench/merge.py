"""Whether merging two dumps finds what a plain comparison finds: `python -m bench.merge OLD NEW [EDITS]`.

Chain by chain, of every kind that kube-proxy writes for Services; then of NEW against itself with as many random edits
(default 200). Prints how many chains differ in all, and in how many comparisons the two disagree.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from pathlib import Path

from kdiag.parse.chain_merge import differing_chains

_REGION = re.compile(rb"(?:-A (KUBE-[A-Z]+-)[A-Z2-7]{16} [^\n]*\n)(?:-A \1[^\n]*\n)*")
_PIECE_BYTES = 100_000
_CHAIN = re.compile(rb"(-A [^ \n]+ )[^\n]*\n(?:\1[^\n]*\n)*")


def regions(dump: bytes) -> dict[bytes, tuple[int, int]]:
    """Where the chains of each kind stand together."""
    return {found[1]: found.span() for found in _REGION.finditer(dump)}


def plain(old: bytes, new: bytes) -> tuple[bytes, bytes]:
    """The chains of either that are not the same in the other, by a dictionary of all."""
    mine, theirs = ({found[1]: found[0] for found in _CHAIN.finditer(text)} for text in (old, new))
    return (
        b"".join(text for name, text in mine.items() if theirs.get(name) != text),
        b"".join(text for name, text in theirs.items() if mine.get(name) != text),
    )


def merged(old: bytes, region: tuple[int, int], new: bytes, new_region: tuple[int, int]) -> tuple[bytes, bytes]:
    """The same, by the merge."""
    pairs = list(differing_chains(old, region, new, new_region))
    gone = b"".join(old[start:end] for (start, end), _ in pairs)
    return gone, b"".join(new[start:end] for _, (start, end) in pairs)


def edited(region: bytes, chance: random.Random) -> bytes:
    """One to three rules deleted, doubled or changed, somewhere."""
    for _ in range(chance.randrange(1, 4)):
        if not region:
            break
        start = region.rfind(b"\n", 0, chance.randrange(len(region))) + 1
        end = region.index(b"\n", start) + 1
        line = region[start:end]
        changed = chance.choice((b"", line + line, line[:-1] + b"0\n"))
        region = region[:start] + changed + region[end:]
    return region


def compare(old: bytes, new: bytes, edits: int) -> tuple[int, int]:
    """How many bytes of chains differ, and how many comparisons disagree."""
    chance = random.Random(1)
    differing = wrong = 0
    mine, theirs = regions(old), regions(new)
    for kind in mine.keys() & theirs.keys():
        one, other = mine[kind], theirs[kind]
        expected = plain(old[slice(*one)], new[slice(*other)])
        differing += len(_CHAIN.findall(expected[1]))
        wrong += merged(old, one, new, other) != expected
    for _ in range(edits):
        kind = chance.choice(sorted(theirs))
        start, end = theirs[kind]
        # A stretch of it: comparing all of a large dump plainly takes seconds.
        first = new.rfind(b"\n", start, chance.randrange(start + 1, end)) + 1 or start
        piece = new[first : new.find(b"\n", min(first + _PIECE_BYTES, end - 1)) + 1]
        changed = edited(piece, chance)
        expected = plain(piece, changed)
        wrong += merged(piece, (0, len(piece)), changed, (0, len(changed))) != expected
    return differing, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("edits", type=int, nargs="?", default=200)
    given = parser.parse_args()
    differing, wrong = compare(given.old.read_bytes(), given.new.read_bytes(), given.edits)
    print(json.dumps({"chains": differing, "wrong": wrong, "edits": given.edits}))


if __name__ == "__main__":
    main()
