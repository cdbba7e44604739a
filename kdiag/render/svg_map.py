"""The address map as SVG, alone or as a part of a page."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from kdiag.model.overview import AddressRanges
from kdiag.model.report import Report
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
from kdiag.render.layout import count, visible
from kdiag.render.style import Style
from kdiag.render.svg_parts import CHARACTER_PX, LINE_PX, element, picture, words_at

REGIONS_SHOWN = 40
"""Regions of one family; what lies beyond is told in one line."""

_WIDTH = 1000
_MARGIN = 12
_BAR_X = 34
_BAR = 380
_TEXT_X = _BAR_X + _BAR + 18
_GAUGE = 64
_COLUMNS = int((_WIDTH - _MARGIN - _TEXT_X) / CHARACTER_PX)
_SLIVER = 2.0
_CLASSES = {Relation.APART: "range", Relation.NESTED: "nested", Relation.OVERLAPS: "overlap"}


def map_svg(found: AddressRanges, *, alone: bool = True) -> str:
    """The whole map. Overlaps are hatched and told in words, nested ranges are lighter and indented."""
    canvas = _Canvas()
    families = address_map(found)
    canvas.text(_MARGIN, "Address ranges", class_="strong")
    if not families:
        canvas.text(_MARGIN, "No address range is known.")
    else:
        _key(canvas)
    for family in families:
        _family(canvas, family)
    rows = [row for family in families for region in family.regions for row in region.rows]
    clashes = [f"{row_words(row)} {note_words(row)}" for row in rows if row.overlaps]
    description = f"{count(sum(len(row.ranges) for row in rows), 'range')}. " + (
        f"{'; '.join(clashes)}." if clashes else "None overlaps another that it should be apart from."
    )
    hatch = element(
        "defs",
        element(
            "pattern",
            element("rect", class_="hatch", width=6, height=6),
            element("path", class_="hatch-line", d="M0 0V6"),
            id="kdiag-hatch",
            width=6,
            height=6,
            patternUnits="userSpaceOnUse",
            patternTransform="rotate(45)",
        ),
    )
    return picture(
        _WIDTH,
        canvas.y + _MARGIN,
        [hatch, *canvas.parts],
        title="Map of the address ranges",
        description=description,
        alone=alone,
        key="kdiag-map",
    )


def report_svg(report: Report, _style: Style) -> str:
    """`kdiag check-cidrs -o svg`."""
    return map_svg(report.address_ranges or AddressRanges()) + "\n"


class _Canvas:
    """Parts of the picture so far, and how far down it goes in pixels."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.y: float = _MARGIN

    def text(self, x: float, words: str, *, class_: str = "") -> None:
        """One line of text, and down by its height."""
        self.y += LINE_PX
        self.parts.append(words_at(x, self.y - 4, words, class_=class_))

    def bar(self, x: float, y: float, width: float, height: float, class_: str) -> None:
        """A rectangle anywhere."""
        self.parts.append(element("rect", x=x, y=y, width=width, height=height, class_=class_))


def _key(canvas: _Canvas) -> None:
    x = float(_MARGIN)
    top = canvas.y + 5
    words = {
        Relation.APART: "range",
        Relation.NESTED: "inside another, as it should be",
        Relation.OVERLAPS: "overlaps another",
    }
    for relation, text in words.items():
        canvas.bar(x, top, 22, 9, _CLASSES[relation])
        canvas.parts.append(words_at(x + 28, top + 9, text, class_="dim"))
        x += 28 + len(text) * CHARACTER_PX + 24
    canvas.y += LINE_PX


def _family(canvas: _Canvas, family: MapFamily) -> None:
    canvas.y += 10
    canvas.text(_MARGIN, str(family.family), class_="strong")
    for space in family.spaces:
        _space(canvas, space)
    for region in family.regions[:REGIONS_SHOWN]:
        _region(canvas, region)
    left = family.regions[REGIONS_SHOWN:]
    if left:
        hidden = sum(len(row.ranges) for region in left for row in region.rows)
        canvas.text(_MARGIN, f"and {count(hidden, 'more range')}, from {left[0].first} to {left[-1].last}")


def _space(canvas: _Canvas, space: MapSpace) -> None:
    """All regions of a space on one scale, with their letters above."""
    width = _WIDTH - 2 * _MARGIN
    first, last = str(space.network.network_address), str(space.network.broadcast_address)
    canvas.text(_MARGIN, f"{space.network}, to scale: {first} to {last}", class_="dim")
    canvas.y += LINE_PX
    top = canvas.y
    canvas.bar(_MARGIN, top, width, 10, "track")
    free = float(_MARGIN)
    for mark, start, stop in space.places:
        x = _MARGIN + start * width
        canvas.bar(min(x, _MARGIN + width - _SLIVER), top, max((stop - start) * width, _SLIVER), 10, "range")
        at = max(x, free)
        canvas.parts.append(words_at(at, top - 4, mark, class_="strong"))
        free = at + (len(mark) + 1) * CHARACTER_PX
    canvas.y = top + 14


def _region(canvas: _Canvas, region: MapRegion) -> None:
    canvas.y += 6
    size = f"{number_words(region.size)} {'address' if region.size == 1 else 'addresses'}"
    canvas.text(_MARGIN, f"{region.mark}  {region.first} to {region.last}  ({size})", class_="strong")
    for row in region.rows:
        _row(canvas, row)


def _row(canvas: _Canvas, row: MapRow) -> None:
    top = canvas.y + 3
    canvas.bar(_BAR_X, top, _BAR, 12, "track")
    for start, stop in row.spans:
        x = _BAR_X + start * _BAR
        width = max((stop - start) * _BAR, _SLIVER)
        canvas.bar(min(x, _BAR_X + _BAR - width), top, width, 12, _CLASSES[row.relation])
    indent = min(row.depth, 6) * 14
    for line in _wrapped(row_words(row), indent):
        canvas.text(_TEXT_X + indent, line)
    usage = usage_words(row)
    if row.share is not None:
        canvas.bar(_TEXT_X + indent, canvas.y + 4, _GAUGE, 9, "gauge")
        canvas.bar(_TEXT_X + indent, canvas.y + 4, max(row.share * _GAUGE, 1 if row.share else 0), 9, "used")
        canvas.text(_TEXT_X + indent + _GAUGE + 8, usage, class_="dim")
    if row.overlaps:
        for line in _wrapped(note_words(row), indent):
            canvas.text(_TEXT_X + indent, line, class_="bad")
    canvas.y += 3


def _wrapped(words: str, indent: int) -> Iterator[str]:
    columns = max(_COLUMNS - int(indent / CHARACTER_PX), 20)
    yield from textwrap.wrap(visible(words), columns, break_on_hyphens=False) or [""]
