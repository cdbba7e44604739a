"""A trace in DOT, the language of Graphviz."""

from __future__ import annotations

from kdiag.model.trace import Trace
from kdiag.render.interface import Format
from kdiag.render.style import Style
from kdiag.render.trace_graph import Box, Role, State, trace_graph

_SHAPES = {Role.CLIENT: "oval", Role.RULES: "box", Role.END: "box", Role.MISSING: "box", Role.NOTE: "note"}
_LOOKS = {
    State.PLAIN: 'color="#57606a"',
    State.GOOD: 'color="#1a7f37", penwidth=2',
    State.BAD: 'color="#b3261e", penwidth=4',
    State.DOUBT: 'color="#8a5a00", penwidth=2, style=dashed',
    State.MISSING: 'color="#b3261e", penwidth=2, style=dotted',
}


def trace_dot(trace: Trace, _style: Style) -> str:
    """The graph, from left to right. All text is quoted and escaped."""
    graph = trace_graph(trace)
    lines = [
        "digraph trace {",
        "  rankdir=LR;",
        f'  label="{_escaped(graph.title)}"; labelloc=t;',
        '  graph [fontname="monospace", fontsize=12];',
        '  node [fontname="monospace", fontsize=10];',
        '  edge [fontname="monospace", fontsize=10];',
    ]
    for box in graph.boxes:
        lines.append(f'  {box.key} [shape={_SHAPES[box.role]}, {_LOOKS[box.state]}, label="{_label(box)}"];')
    for arrow in graph.arrows:
        mark = " WRONG" if arrow.state is State.BAD and arrow.label else ""
        label = f', label="{_escaped(arrow.label + mark)}"' if arrow.label else ""
        lines.append(f"  {arrow.source} -> {arrow.target} [{_LOOKS[arrow.state]}{label}];")
    return "\n".join([*lines, "}"]) + "\n"


def _label(box: Box) -> str:
    """Lines that are flush left, which `\\l` at their ends says."""
    return "".join(f"{_escaped(line)}\\l" for line in (box.heading, *box.lines))


def _escaped(text: str) -> str:
    """Quotes and backslashes with a backslash; `&` as an entity, because Graphviz reads entities in labels."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")


DOT = Format(slug="dot", trace=trace_dot)
