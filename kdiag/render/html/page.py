"""One self-contained page: markup, style, script and content in one file, and nothing from anywhere else.

The Content-Security-Policy names the style and the script by their digests and allows nothing more, so that even markup
that slipped through could neither run nor load anything.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from importlib.resources import files
from string import Template

from kdiag.model.overview import AddressRanges
from kdiag.model.report import Report
from kdiag.render.address_map import address_map, kind_words, note_words, row_words, usage_words
from kdiag.render.html.content import embedded, page_content
from kdiag.render.style import Style
from kdiag.render.svg_map import map_svg
from kdiag.render.svg_parts import PICTURE_STYLE, element, text_of
from kdiag.render.svg_trace import walk_svg

SCRIPTS = ("base.js", "findings.js", "matrix.js", "pages.js", "main.js")
"""The parts of the script in the order in which they are put together."""


def report_page(report: Report, _style: Style) -> str:
    """The whole page. The same report gives the same bytes."""
    style = _asset("report.css") + PICTURE_STYLE
    script = page_script()
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_digest(script)}'",
            f"style-src '{_digest(style)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    ranges = report.address_ranges
    if ranges is None and report.overview is not None:
        ranges = report.overview.ranges
    return Template(_asset("report.html")).substitute(
        policy=text_of(policy),
        title=text_of(f"kdiag: {report.cluster}"),
        style=style,
        map="" if ranges is None else map_svg(ranges, alone=False),
        ranges="" if ranges is None else _range_rows(ranges),
        pictures="".join(_pictures(report)),
        content=embedded(page_content(report)),
        script=script,
    )


def page_script() -> str:
    """The script of the page: its parts in one scope of their own."""
    parts = "".join(_asset(part) for part in SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}}})();\n'


def _asset(file_name: str) -> str:
    return files(__package__ or "kdiag.render.html").joinpath(file_name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _pictures(report: Report) -> Iterable[str]:
    """The walks, each in a template by the name of its Service: the script shows the one that is asked for."""
    for number, item in enumerate(report.overview.traces if report.overview is not None else ()):
        picture = walk_svg(item.walk, key=f"trace-{number}")
        yield element("template", picture, id=f"picture-{number}", data_service=item.service)


def _range_rows(ranges: AddressRanges) -> str:
    """The map as rows of a table, for those who cannot see it."""
    rows = []
    for family in address_map(ranges):
        for region in family.regions:
            for row in region.rows:
                what = kind_words(row.ranges[0]) if len(row.ranges) == 1 else row_words(row)
                network = str(row.ranges[0].network) if len(row.ranges) == 1 else f"{len(row.ranges)} ranges"
                stated = "; ".join(row.ranges[0].stated_by) if len(row.ranges) == 1 else ""
                cells = (network, what, usage_words(row), note_words(row), stated)
                first, *others = (text_of(cell) for cell in cells)
                rows.append(
                    element(
                        "tr",
                        element("th", first, scope="row", class_="mono"),
                        *(f"<td>{cell}</td>" for cell in others),
                    )
                )
    return "".join(rows)
