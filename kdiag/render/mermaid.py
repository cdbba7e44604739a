"""A trace as a Mermaid flowchart, for Markdown pages that draw one."""

from __future__ import annotations

from kdiag.model.trace import Trace
from kdiag.render.interface import Format
from kdiag.render.style import Style
from kdiag.render.trace_graph import Box, Role, State, trace_graph

_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:/-_+=()")
_SHAPES = {Role.CLIENT: ("([", "])"), Role.END: ("([", "])"), Role.MISSING: ("[/", "/]")}
_CLASSES = {
    State.GOOD: "stroke:#1a7f37,stroke-width:2px",
    State.BAD: "stroke:#b3261e,stroke-width:4px",
    State.DOUBT: "stroke:#8a5a00,stroke-width:2px,stroke-dasharray:5 3",
    State.MISSING: "stroke:#b3261e,stroke-width:2px,stroke-dasharray:4 4",
}


def trace_mermaid(trace: Trace, _style: Style) -> str:
    """The flowchart. Labels are quoted, and every character in them that Mermaid might read is an entity."""
    graph = trace_graph(trace)
    lines = ["flowchart LR", f"  accTitle: {_escaped(graph.title)}"]
    lines.extend(f"  {box.key}{_shape(box)}" for box in graph.boxes)
    for arrow in graph.arrows:
        line = "-.->" if arrow.state in (State.DOUBT, State.MISSING) else "==>" if arrow.state is State.BAD else "-->"
        label = f'|"{_escaped(_marked(arrow.label, arrow.state))}"|' if arrow.label else ""
        lines.append(f"  {arrow.source} {line}{label} {arrow.target}")
    for state, look in _CLASSES.items():
        keys = [box.key for box in graph.boxes if box.state is state]
        if keys:
            lines.extend([f"  classDef {state.value} {look}", f"  class {','.join(keys)} {state.value}"])
        numbers = [str(number) for number, arrow in enumerate(graph.arrows) if arrow.state is state]
        if numbers:
            lines.append(f"  linkStyle {','.join(numbers)} {look}")
    return "\n".join(lines) + "\n"


def _shape(box: Box) -> str:
    left, right = _SHAPES.get(box.role, ("[", "]"))
    text = "<br/>".join(_escaped(line) for line in (box.heading, *box.lines))
    return f'{left}"{text}"{right}'


def _marked(label: str, state: State) -> str:
    return f"{label} WRONG" if state is State.BAD else label


def _escaped(text: str) -> str:
    """`#34;` for a quote: Mermaid's entities are numbers between # and ;."""
    return "".join(ch if ch in _SAFE else f"#{ord(ch)};" for ch in text)


MERMAID = Format(slug="mermaid", trace=trace_mermaid)
