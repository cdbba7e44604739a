"""`kdiag flags` as text: one table of all settings, kind by kind."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from kdiag.model.facts import Fact, FactKind, Facts
from kdiag.render.layout import count, paragraphs, some, table_blocks, visible
from kdiag.render.style import Ink, Style

NODES_SHOWN = 5

_HEADERS = ("VALUE", "COMPONENT", "STATED BY")
_INDENT = "  "


def facts_text(facts: Facts, style: Style) -> str:
    """All kinds in one layout: a value once for all who state it, and where each does."""
    ordered = list(dict.fromkeys(sorted(facts.facts, key=_order)))
    lines: list[str] = []
    if ordered:
        rows = _rows(ordered)
        head, *blocks = _tabulated(rows, style) or _stacked(rows, style)
        lines = [*head, *([""] if head else [])]
        for kind, group in groupby(zip(rows, blocks, strict=True), key=lambda pair: pair[0].kind):
            members = list(group)
            lines.append(_heading(kind, [row for row, _ in members], style))
            lines.extend(line for _, block in members for line in block)
            lines.append("")
    else:
        lines = ["No component states any of the settings that kdiag looks for.", ""]
    lines.append(f"{count(len(ordered), 'setting')} of {count(len({fact.component for fact in ordered}), 'component')}")
    return "\n".join(lines) + "\n"


class _Row(NamedTuple):
    """One statement in words, or that of several nodes. `value` is empty below the same value."""

    kind: FactKind
    value: str
    component: str
    flag: str
    place: str


def _rows(facts: Sequence[Fact]) -> list[_Row]:
    """Statements in the order of the facts; those that differ by their node alone are one, at the place of the first."""
    alike: dict[tuple[object, ...], list[Fact]] = {}
    for fact in facts:
        alike.setdefault((fact.kind, fact.value, fact.component, fact.flag, _of_any_node(fact)), []).append(fact)
    rows: list[_Row] = []
    before: tuple[FactKind, str] | None = None
    for group in alike.values():
        fact = group[0]
        rows.append(
            _Row(
                kind=fact.kind,
                value="" if (fact.kind, fact.value) == before else fact.value.replace(",", ", "),
                component=_component(fact),
                flag=fact.flag,
                place=_place(group),
            )
        )
        before = (fact.kind, fact.value)
    return rows


def _of_any_node(fact: Fact) -> str:
    """The path with an asterisk for the node, or else the path and line, which no other fact shares."""
    if fact.node is not None and f"/{fact.node}/" in fact.source:
        return fact.source.replace(f"/{fact.node}/", "/*/", 1)
    return f"{fact.node}:{fact.source}:{fact.line}"


def _place(facts: Sequence[Fact]) -> str:
    """`nodes/node01/configz.json:3`; `nodes/*/configz.json: node01, node02` for several nodes."""
    fact = facts[0]
    nodes = list(dict.fromkeys(item.node for item in facts if item.node is not None))
    if len(nodes) > 1:
        return f"{_of_any_node(fact)}: {some(nodes, NODES_SHOWN)}"
    return f"{fact.source}:{fact.line}" if fact.line else fact.source


def _component(fact: Fact) -> str:
    """The node is named where neither the component nor the path does."""
    if fact.node is None or fact.node in fact.component or f"/{fact.node}/" in fact.source:
        return fact.component
    return f"{fact.component} on {fact.node}"


def _heading(kind: FactKind, rows: Sequence[_Row], style: Style) -> str:
    values = sum(1 for row in rows if row.value)
    heading = style.ink(kind.value[0].upper() + kind.value[1:], Ink.HEADING)
    return f"{heading}  ({values} values)" if values > 1 else heading


def _tabulated(rows: Sequence[_Row], style: Style) -> list[list[str]] | None:
    """Columns; None where a flag or path would have to be broken: they are worth copying in one piece."""
    cells = [(row.value, row.component, " in ".join(part for part in (row.flag, row.place) if part)) for row in rows]
    blocks = table_blocks(_HEADERS, cells, width=style.width, indent=_INDENT)
    lines = " ".join(line for block in blocks for line in block).split()
    words = {word for row in cells for cell in row for word in visible(cell).split(" ") if word}
    fits = max(len(line) for block in blocks for line in block) <= style.width
    return blocks if fits and words <= set(lines) else None


def _stacked(rows: Sequence[_Row], style: Style) -> list[list[str]]:
    """The same without columns for who and where, and without headers."""
    column = len(_INDENT) + max(len(visible(row.value)) for row in rows) + 2
    blocks: list[list[str]] = [[]]
    for row in rows:
        first = f"{_INDENT}{visible(row.value)}".ljust(column)
        who = f"{row.component}: {row.flag}" if row.flag else row.component
        lines = paragraphs(who, style.width, indent=" " * column, first=first)
        blocks.append([*lines, *paragraphs(row.place, style.width, indent=" " * column)])
    return blocks


def _order(fact: Fact) -> tuple[int, str, str, str, str, str, int]:
    kinds = list(type(fact.kind))
    return (
        kinds.index(fact.kind),
        fact.value,
        fact.component,
        fact.node or "",
        fact.flag,
        fact.source,
        fact.line,
    )
