"""A trace as text: the endpoints, whether it works, one walk rule by rule, and the summary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from kdiag.model.dataplane import Frontend, FrontendKind, Position
from kdiag.model.trace import Trace, TraceVerdict
from kdiag.render.layout import count, paragraphs, some, table, table_blocks, visible
from kdiag.render.style import Ink, Style
from kdiag.render.text_walk import FROM, KINDS, walk_lines

ROWS_SHOWN = 40
"""Rows of verdicts up to which every node has its own."""

NODES_SHOWN = 5

_INDENT = "  "
_INKS = {"ok": Ink.GOOD, "BROKEN": Ink.ERROR, "cannot tell": Ink.WARNING}


def trace_text(trace: Trace, style: Style) -> str:
    """The whole trace, the summary last."""
    lines = [style.ink(visible(trace.title), Ink.HEADING)]
    if trace.endpoints:
        rows = [(item.address, item.pod or "", item.node or "", item.state) for item in trace.endpoints]
        lines.extend(["", style.ink("Endpoints that the API lists", Ink.HEADING)])
        lines.extend(table(("ADDRESS", "POD", "NODE", "STATE"), rows, width=style.width, indent=_INDENT, whole=1))
    if trace.verdicts:
        lines.append("")
        lines.extend(_verdicts(trace, style))
    if trace.walk is not None:
        lines.append("")
        lines.extend(walk_lines(trace.walk, style, owned=trace.service_port is not None))
    if trace.notes:
        lines.append("")
        for note in trace.notes:
            lines.extend(paragraphs(note, style.width, indent=_INDENT + "    ", first="note: "))
    lines.extend(["", _summary(trace, style)])
    return "\n".join(lines) + "\n"


class _Row(Struct, frozen=True, kw_only=True):
    """One line of the table: places of the client that fare alike at one address, on one node or on several."""

    address: str
    nodes: tuple[str, ...]
    positions: tuple[Position, ...]
    verdict: TraceVerdict

    @property
    def client(self) -> str:
        """Where the client may be, in words."""
        if set(self.positions) == set(Position):
            return "anywhere"
        return ", ".join(FROM[position] for position in self.positions)


def _verdicts(trace: Trace, style: Style) -> list[str]:
    """A table. An address that is the only one stands in the heading, several stand between the rows.

    What is expected is printed where it is not what happens; the column is missing if there is no such row.
    """
    rows = _rows(trace.verdicts, owned=trace.service_port is not None)
    with_expected = any(row.verdict.expected != row.verdict.actual for row in rows)
    headers = ("NODE", "FROM", "RESULT", "HAPPENS", *(("EXPECTED",) if with_expected else ()))
    cells = []
    for row in rows:
        verdict = row.verdict
        words = [some(row.nodes, 1), row.client, _verdict_word(verdict), verdict.actual]
        cells.append([*words, *([verdict.expected * (verdict.expected != verdict.actual)] if with_expected else [])])
    addresses = list(dict.fromkeys(row.address for row in rows))
    several = len(addresses) > 1
    indent = _INDENT * 2 if several else _INDENT
    head, *blocks = table_blocks(headers, cells, width=style.width, indent=indent, whole=3)
    column = head[0].index("RESULT")
    question = "Does it work?" if several else f"Does {addresses[0]} work?"
    lines = [*(style.ink(line, Ink.HEADING) for line in paragraphs(question, style.width)), *head]
    for address in addresses:
        if several:
            lines.append(_INDENT + address)
        for row, block in zip(rows, blocks, strict=True):
            if row.address == address:
                lines.extend(_ink_word(line, column, style) for line in block)
    return lines


def _rows(verdicts: Iterable[TraceVerdict], *, owned: bool) -> list[_Row]:
    """Verdicts as rows: places of the client that fare alike share one, and in a large cluster nodes do."""
    alike: dict[tuple[object, ...], list[TraceVerdict]] = {}
    for verdict in verdicts:
        outcome = (verdict.ok, verdict.expected, verdict.actual)
        place = (_address(verdict.frontend, owned=owned), verdict.frontend.address, verdict.node)
        alike.setdefault((*place, outcome), []).append(verdict)
    rows = [
        _Row(
            address=_address(group[0].frontend, owned=owned),
            nodes=(group[0].node,),
            positions=tuple(dict.fromkeys(verdict.frontend.position for verdict in group)),
            verdict=group[0],
        )
        for group in alike.values()
    ]
    if len(rows) <= ROWS_SHOWN:
        return rows
    merged: dict[tuple[object, ...], list[_Row]] = {}
    for row in rows:
        outcome = (row.verdict.ok, row.verdict.expected, row.verdict.actual)
        merged.setdefault((row.address, row.positions, outcome), []).append(row)
    return [
        _Row(
            address=group[0].address,
            nodes=tuple(dict.fromkeys(node for row in group for node in row.nodes)),
            positions=group[0].positions,
            verdict=group[0].verdict,
        )
        for group in merged.values()
    ]


def _address(frontend: Frontend, *, owned: bool) -> str:
    """`cluster IP 10.96.0.10:53/UDP`, `IPv4 node port 30053/UDP`: the latter has another address on every node.

    An address that no Service owns is of no kind.
    """
    if not owned:
        return frontend.label
    if frontend.kind is FrontendKind.NODE_PORT:
        return f"{frontend.family} {KINDS[frontend.kind]} {frontend.port}/{frontend.protocol}"
    return f"{KINDS[frontend.kind]} {frontend.label}"


def _verdict_word(verdict: TraceVerdict) -> str:
    if verdict.ok is None:
        return "cannot tell"
    return "ok" if verdict.ok else "BROKEN"


def _ink_word(line: str, column: int, style: Style) -> str:
    """Colours the verdict where it stands at a column, after the layout, which must not count colours."""
    for word, ink in _INKS.items():
        if line.startswith(word, column):
            return line[:column] + style.ink(word, ink) + line[column + len(word) :]
    return line


def _summary(trace: Trace, style: Style) -> str:
    """A node with anything broken is broken, else one with anything unclear is unclear."""
    if not trace.verdicts:
        return "nothing to judge"
    nodes = sorted({verdict.node for verdict in trace.verdicts})
    broken = sorted({verdict.node for verdict in trace.verdicts if verdict.ok is False})
    unclear = sorted({verdict.node for verdict in trace.verdicts if verdict.ok is None} - set(broken))
    if broken:
        doubt = f"; cannot tell on {_some_of(unclear, nodes)}" if unclear else ""
        return style.ink(f"BROKEN on {_some_of(broken, nodes)}{doubt}", Ink.ERROR)
    if unclear:
        rest = "; ok on the others" if len(unclear) < len(nodes) else ""
        return style.ink(f"cannot tell on {_some_of(unclear, nodes)}{rest}", Ink.WARNING)
    return style.ink(f"ok on {_some_of(nodes, nodes)}", Ink.GOOD)


def _some_of(chosen: Sequence[str], nodes: Sequence[str]) -> str:
    """`node02 (1 of 3 nodes)`, `all 3 nodes`, or the name of the only one."""
    if len(nodes) == 1:
        return visible(nodes[0])
    if len(chosen) == len(nodes):
        return f"all {len(nodes)} nodes"
    return f"{visible(some(chosen, NODES_SHOWN))} ({len(chosen)} of {count(len(nodes), 'node')})"
