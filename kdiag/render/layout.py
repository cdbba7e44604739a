"""Text in lines: escaping, wrapping, cutting, tables. Everything here takes untrusted text and returns harmless text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

ELLIPSIS = "..."
_NARROWEST_COLUMN = 10


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

    `indent` goes before every line, `first` (default `indent`) before the very first. Words longer than a line are kept
    whole, because they are addresses and paths that somebody will want to copy.
    """
    out: list[str] = []
    for line in text.split("\n"):
        out.extend(
            textwrap.wrap(
                visible(line.strip(" ")),
                width=max(width, 20),
                initial_indent=indent if out or first is None else first,
                subsequent_indent=indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
    return out


def cut_middle(text: str, width: int) -> str:
    """`text`, with its middle replaced by `...` if it is longer than `width`: both ends of a rule tell something."""
    if len(text) <= width:
        return text
    room = max(width - len(ELLIPSIS), 2)
    tail = room // 2
    return text[: room - tail] + ELLIPSIS + text[len(text) - tail :]


def table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, width: int, indent: str = "", whole: int = 0
) -> list[str]:
    """A table without ruling. Cells are escaped; the widest columns are wrapped until the table fits into `width`.

    Cells are wrapped between words first, those of the first `whole` columns not even there; words are broken only where
    that is not enough, and no column is made narrower than ten columns, so that a very small `width` may be overrun.
    """
    import tabulate  # costs 65 ms, which `--help` should not pay

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
    return [(indent + line).rstrip() for line in text.splitlines()]


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
    if len(items) <= limit:
        return ", ".join(items)
    return f"{', '.join(items[:limit])} and {len(items) - limit} more"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """`1 node`, `2 nodes`."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def _wrap_cell(cell: str, limit: int) -> list[str]:
    return textwrap.wrap(cell, width=limit, break_on_hyphens=False) or [""]
