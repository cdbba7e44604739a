"""`kdiag flags` as text: one table for each kind of setting."""

from __future__ import annotations

from itertools import groupby

from kdiag.model.facts import Fact, Facts
from kdiag.render.layout import count, paragraphs, table, visible
from kdiag.render.style import Ink, Style

_HEADERS = ("VALUE", "COMPONENT", "NODE", "STATED BY")
_INDENT = "  "


def facts_text(facts: Facts, style: Style) -> str:
    """One table for each kind, values that agree beside each other, and where each is stated."""
    lines: list[str] = []
    ordered = sorted(facts.facts, key=_order)
    for kind, group in groupby(ordered, key=lambda fact: fact.kind):
        members = list(group)
        values = {fact.value for fact in members}
        heading = kind.value[0].upper() + kind.value[1:]
        lines.append(style.ink(heading, Ink.HEADING) + (f"  ({len(values)} values)" if len(values) > 1 else ""))
        lines.extend(_rows(list(dict.fromkeys(members)), style))
        lines.append("")
    if not ordered:
        lines = ["No component states any of the settings that kdiag looks for.", ""]
    lines.append(f"{count(len(set(ordered)), 'setting')} of {count(len({f.component for f in ordered}), 'component')}")
    return "\n".join(lines) + "\n"


def _rows(facts: list[Fact], style: Style) -> list[str]:
    """A table where it fits, else two lines for each statement: flags and paths are worth copying in one piece."""
    rows = [(fact.value, fact.component, fact.node or "", _stated_by(fact)) for fact in facts]
    lines = table(_HEADERS, rows, width=1000, indent=_INDENT)
    if max(len(line) for line in lines) <= style.width:
        return lines
    column = len(_INDENT) + max(len(visible(fact.value)) for fact in facts) + 2
    lines = []
    for value, component, node, stated_by in rows:
        first = f"{_INDENT}{visible(value)}".ljust(column)
        who = f"{component} on {node}" if node else component
        lines.extend(paragraphs(who, style.width, indent=" " * column, first=first))
        lines.extend(paragraphs(stated_by, style.width, indent=" " * column))
    return lines


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


def _stated_by(fact: Fact) -> str:
    where = f"{fact.source}:{fact.line}" if fact.line else fact.source
    return " in ".join(part for part in (fact.flag, where) if part)
