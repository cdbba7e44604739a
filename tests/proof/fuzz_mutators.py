"""Ways to damage text and JSON that know how both are built: lines, words, numbers, values."""

from __future__ import annotations

import copy
import json
import marshal
from collections.abc import Sequence
from functools import cache
from random import Random

HOSTILE = (
    "\x1b[2J\x1b]0;x\x07", "\u202egnp", "\ud800", "\x00", "\u200b", "\u2028", "]]>", "<img src=x onerror=alert(1)>",
    "</script><script>", "::error::x", "%0A::stop-commands::t", "##[error]x", "![i](http://evil/i)", "```", "</details>",
    '";}', "|", "=cmd|' /C x'!A0", "${HOME}", "$(id)", "{0}", "%s", "&#x1b;", "'", '"', "\\", "\r\n", "\t", "ä" * 9,
)  # fmt: skip
"""Pieces that mean something to a terminal, to a format or to a shell."""

NUMBERS = ("0", "-1", "1", "65535", "65536", "4294967296", "18446744073709551616", "9" * 40, "1e999", "0x", "007", "٣",
           "NaN", "1.5", "-0.0", "0x7fffffffffffffff", "²")  # fmt: skip
WORDS = ("!", "-A", "-j", "-m", "--", ":", "*nat", "COMMIT", "#", "{", "}", "@", "0.0.0.0/0", "::/0", "10.0.0.0/33", "fe80::1%eth0",
         "[::1]:80", "::ffff:10.0.0.1", "10.0.0.1-10.0.0.2", "null", "true", "tcp", "132", "--comment", "\"", "/*", "*/",
         "elements", "=", "comment", "-t", "-r", "mask")  # fmt: skip
VALUES: tuple[object, ...] = (
    None, True, False, 0, -1, 1.5, 1e308, 2**63, 2**70, "", "x", "80", "10.0.0.1", "fd00::1", "2026-11-23T00:00:00Z",
    "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00Z", [], {}, [None], [[]], [{}], {"": None}, ["a", 1], {"a": {}},
)  # fmt: skip


def mutated_text(source: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """Text with one to a few things wrong."""
    lines = source.decode("utf-8", "surrogateescape").split("\n")
    for _ in range(1 + int(random.random() ** 3 * 5)):
        at = random.randrange(len(lines)) if lines else 0
        line = lines[at] if lines else ""
        what = random.randrange(14)
        if what == 0:
            del lines[at : at + random.choice((1, 1, 2, 5))]
        elif what == 1:
            lines[at:at] = [line] * random.choice((1, 1, 3))
        elif what == 2 and len(lines) > 1:
            other = random.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        elif what == 3:
            alien = random.choice(others).decode("utf-8", "replace").split("\n")
            lines[at:at] = alien[: random.choice((1, 2, 4))]
        elif what == 4:
            lines[at:] = [line[: random.randrange(len(line) + 1)]]
        elif what == 5:
            place = random.randrange(len(line) + 1)
            lines[at:at] = [line[:place]]
            lines[at + 1 : at + 2] = [line[place:]]
        else:
            changed = _line(line, random, what)
            lines[at : at + 1] = [changed]
        if not lines:
            lines = [""]
    content = "\n".join(lines).encode("utf-8", "surrogatepass" if random.random() < 0.5 else "replace")
    return mutated_bytes(content, random) if random.random() < 0.1 else content


def _line(line: str, random: Random, what: int) -> str:
    if what < 9:
        words = line.split(" ")
        place = random.randrange(len(words))
        how = random.randrange(6)
        if how == 0:
            del words[place]
        elif how == 1:
            words.insert(place, words[random.randrange(len(words))])
        elif how == 2:
            words[place] = random.choice(WORDS)
        elif how == 3:
            words[place] = random.choice(NUMBERS)
        elif how == 4:
            words[place] += random.choice(HOSTILE)
        else:
            other = random.randrange(len(words))
            words[place], words[other] = words[other], words[place]
        return " ".join(words)
    place = random.randrange(len(line) + 1)
    if what == 9:
        return line[:place] + random.choice(HOSTILE) + line[place:]
    if what == 10:
        return line[:place] + line[place + random.choice((1, 1, 4)) :]
    if what == 11:
        return line[:place] + random.choice("\t \"'\\/:,;{}[]()!-@=*#%|<>0a\x00\x1b") + line[place + 1 :]
    if what == 12:
        digits = [index for index, letter in enumerate(line) if letter.isdigit()]
        if digits:
            found = random.choice(digits)
            return line[:found] + random.choice(NUMBERS) + line[found + 1 :]
    return line[:place] + line[place : place + 9] * random.choice((2, 3, 60)) + line[place:]


def mutated_bytes(content: bytes, random: Random) -> bytes:
    """Bytes with a few flipped, cut, doubled or overwritten."""
    out = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 8))):
        place = random.randrange(len(out) + 1)
        how = random.randrange(5)
        if how == 0 and place < len(out):
            out[place] ^= 1 << random.randrange(8)
        elif how == 1:
            del out[place : place + random.choice((1, 4, 64))]
        elif how == 2:
            out[place:place] = out[place : place + random.choice((1, 16, 512))]
        elif how == 3:
            out[place : place + 1] = random.choice((b"\xff", b"\x00", b"\xc3\x28", b"\xed\xa0\x80", b"\n", b"\r"))
        else:
            del out[place:]
    return bytes(out)


def mutated_json(source: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """JSON with values of the wrong kind, members gone, doubled or renamed; sometimes no JSON any more."""
    packed = _packed(source) if random.random() > 0.15 else None
    if packed is None:
        return mutated_bytes(source, random)
    box: list[object] = [marshal.loads(packed)]
    for _ in range(1 + int(random.random() ** 3 * 4)):
        _change(box, random)
    try:
        return (_ASCII if random.random() < 0.7 else _ANY).encode(box[0]).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return mutated_bytes(source, random)


_ASCII = json.JSONEncoder(ensure_ascii=True)
_ANY = json.JSONEncoder(ensure_ascii=False)


@cache
def _packed(source: bytes) -> bytes | None:
    """A document as `marshal` holds it, which makes copies of it faster than anything else; None if it is no JSON."""
    try:
        return marshal.dumps(json.loads(source))
    except (ValueError, RecursionError):
        return None


def _change(box: list[object], random: Random) -> None:
    """One change at some place of the tree in the box."""
    parent: list[object] | dict[str, object] = box
    while True:
        if isinstance(parent, dict):
            key: object = random.choice(list(parent))
            child = parent[key]  # type: ignore[index]
        else:
            key = random.randrange(len(parent))
            child = parent[key]
        if not isinstance(child, (list, dict)) or not child or random.random() < 0.12:
            break
        parent = child
    how = random.randrange(7)
    if isinstance(parent, dict):
        assert isinstance(key, str)
        if how == 0:
            del parent[key]
        elif how == 1:
            parent[random.choice((*parent, "x", ""))] = parent.pop(key)
        elif how == 2:
            parent[key] = [child]
        else:
            parent[key] = _value(child, random, how)
        return
    assert isinstance(key, int)
    if how == 0 and parent is not box:
        del parent[key]
    elif how == 1 and parent is not box:
        parent.insert(key, copy.deepcopy(child))
    elif how == 2:
        parent[key] = {"x": child}
    else:
        parent[key] = _value(child, random, how)


_STRINGS = HOSTILE + NUMBERS


def _value(value: object, random: Random, how: int) -> object:
    if isinstance(value, str) and how < 5:
        place = random.randrange(len(value) + 1)
        return value[:place] + random.choice(_STRINGS) + value[place + random.choice((0, 1, 99)) :]
    return copy.deepcopy(random.choice(VALUES))
