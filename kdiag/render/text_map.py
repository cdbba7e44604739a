"""The address map for a terminal: each region over the width of a bar, to scale, in Unicode or plain ASCII."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from kdiag.model.overview import AddressRanges
from kdiag.render.address_map import (
    MapFamily,
    MapRegion,
    MapRow,
    MapSpace,
    Relation,
    address_map,
    note_words,
    number_words,
    row_words,
    usage_words,
)
from kdiag.render.layout import count, paragraphs
from kdiag.render.style import Ink, Style

REGIONS_SHOWN = 16
"""Regions of one family; more than that is a list of addresses and no map."""

_INDENT = "  "
_NARROWEST_BAR, _WIDEST_BAR = 20, 72
_GAUGE = 10
"""Columns of a gauge: one for each tenth that is in use."""


class _Glyphs(Struct, frozen=True, kw_only=True):
    """What bars are made of. A range narrower than a column is a `sliver`."""

    empty: str
    apart: str
    nested: str
    overlaps: str
    sliver: str
    left: str
    right: str
    used: str
    free: str


_UNICODE = _Glyphs(
    empty="·", apart="█", nested="▒", overlaps="▚", sliver="▏", left="▕", right="▏", used="█", free="░"
)  # fmt: skip
_ASCII = _Glyphs(empty=".", apart="#", nested="=", overlaps="X", sliver="|", left="[", right="]", used="#", free="-")


def map_lines(found: AddressRanges, style: Style) -> list[str]:
    """The whole map with its key; nothing if no range is known."""
    families = address_map(found)
    if not families:
        return []
    glyphs = _ASCII if style.ascii_only else _UNICODE
    lines = [style.ink("Address ranges", Ink.HEADING)]
    shown = {row.relation for family in families for region in family.regions for row in region.rows}
    words = {
        Relation.APART: f"{glyphs.apart} range",
        Relation.NESTED: f"{glyphs.nested} inside another, as it should be",
        Relation.OVERLAPS: f"{glyphs.overlaps} OVERLAPS another",
    }
    key = [*(words[relation] for relation in Relation if relation in shown), f"{glyphs.sliver} narrower than a column"]
    lines.extend(paragraphs(", ".join(key), style.width, indent=_INDENT))
    for family in families:
        lines.extend(["", *_family(family, glyphs, style)])
    return lines


def _family(family: MapFamily, glyphs: _Glyphs, style: Style) -> Iterator[str]:
    yield style.ink(str(family.family), Ink.HEADING)
    for space in family.spaces:
        yield from _space(space, glyphs, style)
    for region in family.regions[:REGIONS_SHOWN]:
        yield from _region(region, glyphs, style)
    left = family.regions[REGIONS_SHOWN:]
    if left:
        hidden = sum(len(row.ranges) for region in left for row in region.rows)
        text = f"and {count(hidden, 'more range')}, from {left[0].first} to {left[-1].last}"
        yield from paragraphs(text, style.width, indent=_INDENT)


def _space(space: MapSpace, glyphs: _Glyphs, style: Style) -> Iterator[str]:
    """`A` and `B` on one line, to scale. Where two fall into one column, the later one gets the next free one."""
    first, last = str(space.network.network_address), str(space.network.broadcast_address)
    room = style.width - len(_INDENT) - len(first) - len(last) - 4
    width = max(min(room, _WIDEST_BAR), _NARROWEST_BAR)
    cells = [glyphs.empty] * width
    for mark, start, stop in space.places:
        begin = min(int(start * width), width - 1)
        while begin < width - 1 and cells[begin] != glyphs.empty:
            begin += 1
        end = max(min(round(stop * width), width), begin + 1)
        text = mark if len(mark) == 1 else "+"
        cells[begin:end] = [text] * (end - begin)
    yield f"{_INDENT}{first} {glyphs.left}{''.join(cells)}{glyphs.right} {last}"


def _region(region: MapRegion, glyphs: _Glyphs, style: Style) -> Iterator[str]:
    bar = _bar_width(style)
    size = f"{number_words(region.size)} {'address' if region.size == 1 else 'addresses'}"
    yield ""
    heading = f"{region.mark}  {region.first} to {region.last}  ({size})"
    yield from (style.ink(line, Ink.HEADING) for line in paragraphs(heading, style.width, indent=_INDENT))
    for row in region.rows:
        yield from _row(row, bar, glyphs, style)


def _bar_width(style: Style) -> int:
    return max(_NARROWEST_BAR, min(_WIDEST_BAR, style.width // 3))


def _row(row: MapRow, width: int, glyphs: _Glyphs, style: Style) -> Iterator[str]:
    """The bar, and beside it what it is, how full it is and what it meets; what lies in another is indented below it."""
    ink = {Relation.OVERLAPS: Ink.ERROR, Relation.NESTED: Ink.FAINT, Relation.APART: Ink.INFO}[row.relation]
    picture = _bar(row, width, glyphs)
    margin = " " * (len(_INDENT) * 2 + width + 2)
    room = style.width - len(margin)
    overlap = note_words(row) if row.overlaps else ""
    words: list[str] = []
    for text in (row_words(row), _usage(row, glyphs), overlap):
        if text:
            indent = _INDENT * (row.depth + bool(words))
            found = paragraphs(text, room, indent=indent + _INDENT, first=indent)
            words.extend(style.ink(line, Ink.ERROR) if text is overlap else line for line in found)
    for index, line in enumerate(words):
        head = _INDENT * 2 + style.ink(picture, ink) + "  " if index == 0 else margin
        yield head + line


def _bar(row: MapRow, width: int, glyphs: _Glyphs) -> str:
    """To scale: a column is drawn where a range has half of it, and each range has at least a sliver."""
    fill = {Relation.APART: glyphs.apart, Relation.NESTED: glyphs.nested, Relation.OVERLAPS: glyphs.overlaps}[
        row.relation
    ]
    cells = [glyphs.empty] * width
    for start, stop in row.spans:
        begin, end = round(start * width), round(stop * width)
        if end > begin and (stop - start) * width >= 0.5:
            cells[begin:end] = [fill] * (end - begin)
        else:
            at = min(int(start * width), width - 1)
            if cells[at] == glyphs.empty:
                cells[at] = glyphs.overlaps if row.relation is Relation.OVERLAPS else glyphs.sliver
    return "".join(cells)


def _usage(row: MapRow, glyphs: _Glyphs) -> str:
    words = usage_words(row)
    share = row.share
    if share is None:
        return words
    full = min(int(share * _GAUGE + 0.5), _GAUGE if share >= 1 else _GAUGE - 1)
    # Less than half a column is still not nothing.
    begun = glyphs.sliver if share > 0 and full == 0 else ""
    gauge = glyphs.used * full + begun + glyphs.free * (_GAUGE - full - len(begun))
    return f"{glyphs.left}{gauge}{glyphs.right} {words}"
