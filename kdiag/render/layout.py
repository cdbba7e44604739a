"""Text in lines: escaping, wrapping, cutting, tables. Everything here takes untrusted text and returns harmless text."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

ELLIPSIS = "..."
LINES_OF_ONE = 3
"""Lines of a terminal that a single line of a snapshot may take."""

_NARROWEST_COLUMN = 10
_BULLET = "- "
_RULE = re.compile(r"^-A |(?:^| )-[jg] ")
_BEFORE_OPTION = re.compile(r"(?<!!) (?=(?:! )?--?[A-Za-z])")
_COMMENT = re.compile(r'(?:--comment "|/\* )(?P<words>.*?)(?:"(?= |$)| \*/)')
_COMMENT_ROOMS = (40, 20, 10)


def visible(text: str) -> str:
    """`text` on one line with everything escaped that a terminal might obey or hide.

    Control characters, ANSI escapes, line and paragraph separators, bidirectional overrides, zero-width characters and
    lone surrogates become `\\x1b`, `\\u202e` and the like: names, comments and logs in a snapshot are chosen by others.
    """
    if text.isprintable():
        return text
    return "".join(ch if ch.isprintable() else ch.encode("unicode_escape").decode("ascii") for ch in text)


def paragraphs(text: str, width: int, *, indent: str = "", first: str | None = None) -> list[str]:
    """`text` escaped and wrapped to `width` columns, each of its own lines starting a new one.

    `indent` goes before every line, `first` (default `indent`) before the very first; what follows in an item of a list
    (`- item`) stands below the item's text. Words longer than a line are kept whole, because they are addresses and
    paths that somebody will want to copy.
    """
    out: list[str] = []
    width = max(width, 20)
    for raw in text.split("\n"):
        line = visible(raw.strip(" "))
        before = indent if out or first is None else first
        if line and len(before) + len(line) <= width:
            out.append(before + line)  # as most are; looking for places to break takes 20 times as long
            continue
        hanging = " " * len(_BULLET) if line.startswith(_BULLET) else ""
        out.extend(
            textwrap.wrap(
                line,
                width=width,
                initial_indent=before,
                subsequent_indent=indent + hanging,
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
    return out


def enumeration(items: Sequence[str], width: int, *, indent: str, first: str) -> list[str]:
    """`a, b, c` escaped and wrapped to `width` columns between the items alone, `first` before the first line."""
    lines = [first]
    started = False
    for index, item in enumerate(items):
        text = visible(item) + ("," if index + 1 < len(items) else "")
        if started and len(lines[-1]) + 1 + len(text) > width:
            lines.append(indent + text)
        else:
            lines[-1] += (" " if started else "") + text
        started = True
    return lines


def cut_middle(text: str, width: int) -> str:
    """`text`, with its middle replaced by `...` if it is longer than `width`: both ends of a rule tell something."""
    if len(text) <= width:
        return text
    room = max(width - len(ELLIPSIS), 2)
    tail = room // 2
    return text[: room - tail] + ELLIPSIS + text[len(text) - tail :]


def fitted(text: str, width: int, *, limit: int = LINES_OF_ONE) -> list[str]:
    """One line of a snapshot, escaped, as at most `limit` lines of `width` columns (20 or more).

    Lines break between words, those of a rule between its options if it takes no more lines so; in words that are too
    long (JSON) after a comma, or anywhere. What is still too long loses
    least where it tells least: a rule first the middle of its comment, then its own middle; other text its end.
    """
    width = max(width, 20)
    shown = visible(text)
    lines = _wrapped(shown, width)
    if len(lines) <= limit:
        return lines
    if not _RULE.search(shown):
        return [*lines[: limit - 1], lines[limit - 1][: width - len(ELLIPSIS)].rstrip() + ELLIPSIS]
    for room in _COMMENT_ROOMS:
        lines = _wrapped(_with_short_comment(shown, room), width)
        if len(lines) <= limit:
            return lines
    shorter = _with_short_comment(shown, _COMMENT_ROOMS[-1])
    room = limit * width
    while len(lines) > limit:
        lines = _wrapped(cut_middle(shorter, room), width)
        room -= 1
    return lines


def _with_short_comment(rule: str, room: int) -> str:
    found = _COMMENT.search(rule)
    if found is None:
        return rule
    return rule[: found.start("words")] + cut_middle(found["words"], room) + rule[found.end("words") :]


def _wrapped(text: str, width: int) -> list[str]:
    words = _filled(text.split(" "), width)
    if not _RULE.search(text):
        return words
    options = _BEFORE_OPTION.split(text)
    whole = _filled([word for part in options for word in ([part] if len(part) <= width else part.split(" "))], width)
    return whole if len(whole) <= len(words) else words


def _filled(words: Sequence[str], width: int) -> list[str]:
    lines: list[str] = []
    line: str | None = None
    for word in words:
        pieces = [word] if len(word) <= width else _pieces(word, width)
        for index, piece in enumerate(pieces):
            joint = "" if index or line is None else " "
            if line is not None and len(line) + len(joint) + len(piece) > width:
                lines.append(line.rstrip())
                line = piece
            else:
                line = (line or "") + joint + piece
    return [*lines, (line or "").rstrip()]


def _pieces(word: str, width: int) -> list[str]:
    """A long word in pieces of at most `width`, each up to a comma where there is one."""
    parts = [part for part in re.split(r"(?<=,)", word) if part]
    return [part[at : at + width] for part in parts for at in range(0, len(part), width)]


def table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, width: int, indent: str = "", whole: int = 0
) -> list[str]:
    """A table without ruling. Cells are escaped; the widest columns are wrapped until the table fits into `width`.

    Cells are wrapped between words first, those of the first `whole` columns not even there; words are broken only where
    that is not enough, and no column is made narrower than ten columns, so that a very small `width` may be overrun.
    """
    return [line for block in table_blocks(headers, rows, width=width, indent=indent, whole=whole) for line in block]


def table_blocks(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, width: int, indent: str = "", whole: int = 0
) -> list[list[str]]:
    """The same table in blocks, so that headings can be put between: the line of the headers, then the lines of each row."""
    import tabulate  # costs 30 ms, which answers without a table should not pay

    cells = [[visible(cell) for cell in row] for row in rows]
    columns = [[header, *(row[index] for row in cells)] for index, header in enumerate(headers)]
    natural = [max(len(cell) for cell in column) for column in columns]
    words = [max(len(word) for cell in column for word in cell.split(" ")) for column in columns]
    room = width - len(indent) - 2 * (len(columns) - 1)
    widths = _narrowed(natural, natural[:whole] + words[whole:], room)
    widths = _narrowed(widths, [_NARROWEST_COLUMN] * len(columns), room)
    wrapped = [["\n".join(_wrap_cell(cell, limit)) for cell, limit in zip(row, widths, strict=True)] for row in cells]
    # As a row, because tabulate pads headers by two columns.
    text = tabulate.tabulate([list(headers), *wrapped], tablefmt="plain", disable_numparse=True)
    lines = [(indent + line).rstrip() for line in text.split("\n")]
    blocks = []
    for height in (1, *(max(cell.count("\n") for cell in row) + 1 for row in wrapped)):
        blocks.append(lines[:height])
        lines = lines[height:]
    return blocks


def _narrowed(widths: Sequence[int], floors: Sequence[int], room: int) -> list[int]:
    """The widths, the widest made narrower one by one until they fit into `room` or all stand on their floors."""
    out = list(widths)
    while sum(out) > room:
        spare = [index for index in range(len(out)) if out[index] > floors[index]]
        if not spare:
            break
        out[max(spare, key=lambda index: out[index])] -= 1
    return out


def some(items: Sequence[str], limit: int) -> str:
    """`a, b and 3 more`."""
    return ", ".join(at_most(items, limit))


def at_most(items: Sequence[str], limit: int) -> list[str]:
    """The items; of more than `limit`, the last one that is kept tells how many are left out: `b and 3 more`."""
    if len(items) <= limit:
        return list(items)
    return [*items[: limit - 1], f"{items[limit - 1]} and {len(items) - limit} more"]


def count(number: int, singular: str, plural: str | None = None) -> str:
    """`1 node`, `2 nodes`."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def _wrap_cell(cell: str, limit: int) -> list[str]:
    return textwrap.wrap(cell, width=limit, break_on_hyphens=False) or [""]
