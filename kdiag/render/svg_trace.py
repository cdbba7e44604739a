"""A trace as SVG, from left to right: the client, the rules it meets, and the ends. No program but kdiag is needed."""

from __future__ import annotations

from collections.abc import Mapping

from kdiag.model.trace import Trace, TraceWalk
from kdiag.render.style import Style
from kdiag.render.svg_parts import CHARACTER_PX, LINE_PX, element, picture, words_at
from kdiag.render.trace_graph import Arrow, Box, State, TraceGraph, trace_graph, walk_graph

_MARGIN = 12
_PADDING = 9
_BETWEEN_COLUMNS = 84
_BETWEEN_ROWS = 14
_CLASSES = {State.PLAIN: "", State.GOOD: " good", State.BAD: " bad", State.DOUBT: " doubt", State.MISSING: " missing"}


def trace_svg(trace: Trace, _style: Style) -> str:
    """`kdiag trace -o svg`."""
    return _drawn(trace_graph(trace), alone=True, key="kdiag-trace") + "\n"


def walk_svg(walk: TraceWalk, *, key: str) -> str:
    """A walk as a part of a page; `key` is unique in the page."""
    return _drawn(walk_graph(walk), alone=False, key=key)


def _drawn(graph: TraceGraph, *, alone: bool, key: str) -> str:
    layout = _Layout(graph)
    title = [words_at(_MARGIN, _MARGIN + 12, graph.title, class_="strong")] if alone else []
    lowered = LINE_PX + 8 if alone else 0
    parts = [*(layout.arrow(item) for item in graph.arrows), *(layout.box(item) for item in graph.boxes)]
    body = element("g", *parts, transform=f"translate(0 {lowered})")
    width = max(layout.width, _MARGIN * 2 + len(graph.title) * CHARACTER_PX if alone else 0)
    ends = [box.heading + ": " + " ".join(box.lines) for box in graph.boxes if box.state is not State.PLAIN]
    return picture(
        width,
        layout.height + lowered,
        [*title, body],
        title=graph.title,
        description=". ".join(ends) or "Nothing is followed to its end.",
        alone=alone,
        key=key,
    )


class _Layout:
    """Where each box stands: a column for each step from the client, and parents beside the middle of their children."""

    def __init__(self, graph: TraceGraph) -> None:
        self.children: dict[str, list[str]] = {box.key: [] for box in graph.boxes}
        for arrow in graph.arrows:
            self.children[arrow.source].append(arrow.target)
        self.sizes: Mapping[str, tuple[float, float]] = {box.key: _size(box) for box in graph.boxes}
        self.column: dict[str, int] = {}
        self.y: dict[str, float] = {}
        targets = {arrow.target for arrow in graph.arrows}
        bottom = float(_MARGIN)
        for box in graph.boxes:
            if box.key not in targets:
                bottom = self._place(box.key, 0, bottom) + _BETWEEN_ROWS
        self.height = bottom - _BETWEEN_ROWS + _MARGIN
        columns = range(max(self.column.values()) + 1)
        widths = [max(self.sizes[key][0] for key, own in self.column.items() if own == column) for column in columns]
        self.x = [_MARGIN + sum(widths[:column]) + _BETWEEN_COLUMNS * column for column in columns]
        self.width = self.x[-1] + widths[-1] + _MARGIN

    def _place(self, key: str, column: int, top: float) -> float:
        """Places a box and all behind it below `top`; returns where they end."""
        self.column[key] = column
        height = self.sizes[key][1]
        children = self.children[key]
        bottom = top
        for child in children:
            bottom = self._place(child, column + 1, bottom) + _BETWEEN_ROWS
        if not children:
            self.y[key] = top
            return top + height
        bottom -= _BETWEEN_ROWS
        if bottom - top < height:
            for child in children:
                self._lower(child, (height - (bottom - top)) / 2)
            bottom = top + height
        first, last = children[0], children[-1]
        middle = (self.y[first] + self.y[last] + self.sizes[last][1]) / 2
        self.y[key] = min(max(middle - height / 2, top), bottom - height)
        return bottom

    def _lower(self, key: str, by: float) -> None:
        self.y[key] += by
        for child in self.children[key]:
            self._lower(child, by)

    def box(self, box: Box) -> str:
        """A rectangle with its lines; the heading of an end is in the colour of how it ends."""
        x, y = self.x[self.column[box.key]], self.y[box.key]
        width, height = self.sizes[box.key]
        mark = _CLASSES[box.state]
        lines = [words_at(x + _PADDING, y + _PADDING + 9, box.heading, class_=f"strong{mark}")]
        for number, line in enumerate(box.lines):
            inset = (len(line) - len(line.lstrip(" "))) * CHARACTER_PX
            strong = "strong" if number in box.headings else ""
            at = y + _PADDING + 9 + (number + 1) * LINE_PX
            lines.append(words_at(x + _PADDING + inset, at, line.lstrip(" "), class_=strong))
        frame = element("rect", x=x, y=y, width=width, height=height, rx=3, class_=f"box{mark}")
        return element("g", frame, *lines)

    def arrow(self, arrow: Arrow) -> str:
        """A curve from the right of one box to the left of the next, with its share above."""
        width, height = self.sizes[arrow.source]
        x1 = self.x[self.column[arrow.source]] + width
        y1 = self.y[arrow.source] + height / 2
        x2 = self.x[self.column[arrow.target]]
        y2 = self.y[arrow.target] + self.sizes[arrow.target][1] / 2
        bend = x2 - _BETWEEN_COLUMNS / 2
        mark = _CLASSES[arrow.state]
        curve = f"M{x1:.1f} {y1:.1f}H{x2 - _BETWEEN_COLUMNS:.1f}C{bend:.1f} {y1:.1f} {bend:.1f} {y2:.1f} {x2 - 7:.1f} {y2:.1f}"
        head = f"M{x2 - 8:.1f} {y2 - 4:.1f}L{x2 - 1:.1f} {y2:.1f}L{x2 - 8:.1f} {y2 + 4:.1f}"
        parts = [element("path", d=curve, class_=f"edge{mark}"), element("path", d=head, class_=f"edge{mark}")]
        if arrow.label:
            words = f"✗ {arrow.label}" if arrow.state is State.BAD else arrow.label
            parts.append(words_at(x2 - 12, y2 - 6, words, class_=f"label{mark}", anchor="end"))
        return element("g", *parts)


def _size(box: Box) -> tuple[float, float]:
    longest = max(len(line) for line in (box.heading, *box.lines))
    return longest * CHARACTER_PX + 2 * _PADDING, (1 + len(box.lines)) * LINE_PX + 2 * _PADDING - 4
