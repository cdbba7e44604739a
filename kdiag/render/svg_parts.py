"""SVG by hand: elements, escaped text, and the colours that all pictures share.

A picture stands alone (`-o svg`) or in a page. Alone it brings its style along; in a page it has classes and no style of
its own, because the page's Content-Security-Policy allows none but the page's.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from kdiag.render.layout import visible

FONT_PX = 12
"""Size of all text; lines of a fixed-width font at this size are CHARACTER_PX wide for each character."""

CHARACTER_PX = 7.25
LINE_PX = 17

PICTURE_STYLE = """\
.pic{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.pic text{fill:var(--ink,#1b1f24)}.pic .dim{fill:var(--dim,#57606a)}.pic .strong{font-weight:700}
.pic .track{fill:var(--track,#eaeef2)}.pic .range{fill:var(--range,#3b6ea5)}.pic .nested{fill:var(--nested,#93b4d6)}
.pic .overlap{fill:url(#kdiag-hatch);stroke:var(--bad,#b3261e);stroke-width:1.5}
.pic .hatch{fill:var(--bad-soft,#fbe4e1)}.pic .hatch-line{stroke:var(--bad,#b3261e);stroke-width:2}
.pic .gauge{fill:none;stroke:var(--line,#8c959f)}.pic .used{fill:var(--dim,#57606a)}
.pic .box{fill:var(--panel,#fff);stroke:var(--line,#8c959f)}.pic .edge{fill:none;stroke:var(--line,#8c959f);stroke-width:1.5}
.pic .good{stroke:var(--good,#1a7f37)}.pic .bad{stroke:var(--bad,#b3261e);stroke-width:3}
.pic .doubt{stroke:var(--warn,#8a5a00);stroke-width:2;stroke-dasharray:5 3}
.pic .missing{stroke:var(--bad,#b3261e);stroke-width:2;stroke-dasharray:4 4}
.pic text.good{fill:var(--good,#1a7f37);stroke:none}.pic text.bad{fill:var(--bad,#b3261e);stroke:none;font-weight:700}
.pic text.doubt{fill:var(--warn,#8a5a00);stroke:none;font-weight:700}.pic text.missing{fill:var(--bad,#b3261e);stroke:none}
.pic text.label{stroke:var(--panel,#fff);stroke-width:4;stroke-dasharray:none;paint-order:stroke}
"""
"""How pictures look; a page sets the variables for its themes."""

_ALONE = """\
.pic{background:var(--panel)}:root{--panel:#fff}
@media (prefers-color-scheme:dark){:root{--panel:#16191d;--ink:#e6e9ec;--dim:#a3abb3;--track:#2a2f35;--range:#6ea3dc;
--nested:#3f6288;--bad:#ff8a80;--bad-soft:#4a1f1c;--good:#6fcf87;--warn:#e3b341;--line:#7d8590}}
"""


def text_of(words: str) -> str:
    """Untrusted text as SVG or HTML text: nothing in it is markup, and nothing hides or turns the text around."""
    return escape(visible(words), quote=True)


def element(tag: str, *children: str, **attributes: str | float | int) -> str:
    """`<tag a="b">children</tag>`. A trailing underscore of an attribute is dropped, other ones become hyphens.

    `children` are markup already; attributes are escaped.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text_of(_value(value))}"' for key, value in attributes.items()
    )
    inside = "".join(children)
    return f"<{tag}{written}>{inside}</{tag}>" if inside else f"<{tag}{written}/>"


def words_at(x: float, y: float, words: str, *, class_: str = "", anchor: str = "start") -> str:
    """A line of text; `y` is its baseline."""
    extra = {"class_": class_} if class_ else {}
    if anchor != "start":
        extra["text_anchor"] = anchor
    return element("text", text_of(words), x=x, y=y, **extra)


def picture(
    width: float, height: float, parts: Iterable[str], *, title: str, description: str, alone: bool, key: str
) -> str:
    """A whole picture. `key` makes its ids unique in a page."""
    style = element("style", PICTURE_STYLE + _ALONE) if alone else ""
    names = {"aria_labelledby": f"{key}-title {key}-text"}
    return element(
        "svg",
        element("title", text_of(title), id=f"{key}-title"),
        element("desc", text_of(description), id=f"{key}-text"),
        style,
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        width=width,
        height=height,
        viewBox=f"0 0 {_value(width)} {_value(height)}",
        class_="pic",
        role="img",
        **names,
    )


def _value(value: str | float | int) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
