"""A trace as text: the verdicts, then one walk rule by rule, then what ought to have happened."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from kdiag.model.dataplane import ClientSet, Disposition, Fate, FrontendKind, Masquerade, Position
from kdiag.model.trace import Trace, TraceBranch, TraceStep, TraceVerdict, TraceWalk
from kdiag.render.layout import count, paragraphs, some, table, visible
from kdiag.render.style import Ink, Style

BRANCHES_SHOWN = 12
"""Branches printed in full; those that are wrong or unclear are printed beyond this number, too."""

VERDICTS_SHOWN = 40
"""Verdicts that get a line of their own."""

_INDENT = "  "
_FROM = {Position.POD: "a pod", Position.NODE: "the node", Position.EXTERNAL: "outside"}
_KINDS = {
    FrontendKind.CLUSTER_IP: "cluster IP",
    FrontendKind.EXTERNAL_IP: "external IP",
    FrontendKind.LOAD_BALANCER_IP: "load-balancer IP",
    FrontendKind.NODE_PORT: "node port",
}


def trace_text(trace: Trace, style: Style) -> str:
    """The whole trace, the summary last."""
    lines = [style.ink(visible(trace.title), Ink.HEADING)]
    if trace.endpoints:
        rows = [(item.address, item.pod or "", item.node or "", item.state) for item in trace.endpoints]
        lines.extend(["", "Endpoints that the API lists"])
        lines.extend(table(("ADDRESS", "POD", "NODE", "STATE"), rows, width=style.width, indent=_INDENT))
    if trace.verdicts:
        lines.extend(["", "Does it work?"])
        lines.extend(_verdicts(trace.verdicts, style))
    if trace.walk is not None:
        lines.append("")
        lines.extend(_walk(trace.walk, style))
    if trace.notes:
        lines.append("")
        for note in trace.notes:
            lines.extend(paragraphs(note, style.width, indent=_INDENT + "    ", first="note: "))
    lines.extend(["", _summary(trace, style)])
    return "\n".join(lines) + "\n"


def _verdicts(verdicts: Sequence[TraceVerdict], style: Style) -> list[str]:
    """A table; if all goes as expected everywhere, the column with what is expected would only repeat the other."""
    with_expected = any(verdict.expected != verdict.actual for verdict in verdicts)
    headers = ["NODE", "FROM", "ADDRESS", "VERDICT", *(["EXPECTED"] if with_expected else []), "HAPPENS"]
    rows = []
    for node, verdict in _condensed(verdicts):
        words = [node, _FROM[verdict.frontend.position], verdict.frontend.label, _verdict_word(verdict)]
        rows.append([*words, *([verdict.expected] if with_expected else []), verdict.actual])
    lines = table(headers, rows, width=style.width, indent=_INDENT, whole=4)
    inks = {"ok": Ink.GOOD, "BROKEN": Ink.ERROR, "cannot tell": Ink.WARNING}
    column = lines[0].index("VERDICT")
    return [_ink_word(line, column, inks, style) for line in lines]


def _condensed(verdicts: Sequence[TraceVerdict]) -> list[tuple[str, TraceVerdict]]:
    """Verdicts with the text of their NODE column: one each, but in a large cluster nodes that are alike share a line."""
    if len(verdicts) <= VERDICTS_SHOWN:
        return [(verdict.node, verdict) for verdict in verdicts]
    alike: dict[tuple[object, ...], list[TraceVerdict]] = {}
    for verdict in verdicts:
        key = (verdict.frontend, verdict.ok, verdict.expected, verdict.actual)
        alike.setdefault(key, []).append(verdict)
    return [(some([verdict.node for verdict in group], 1), group[0]) for group in alike.values()]


def _verdict_word(verdict: TraceVerdict) -> str:
    if verdict.ok is None:
        return "cannot tell"
    return "ok" if verdict.ok else "BROKEN"


def _ink_word(line: str, column: int, inks: dict[str, Ink], style: Style) -> str:
    """Colours one of the words where it stands at a column, after the layout, which must not count colours."""
    for word, ink in inks.items():
        if line.startswith(word, column):
            return line[:column] + style.ink(word, ink) + line[column + len(word) :]
    return line


def _walk(walk: TraceWalk, style: Style) -> list[str]:
    frontend = walk.frontend
    title = (
        f"The way of a new connection on {walk.node}, from {_FROM[frontend.position]} "
        f"to {frontend.label} ({_KINDS[frontend.kind]})"
    )
    lines = [style.ink(line, Ink.HEADING) for line in paragraphs(title, style.width)]
    shown = [
        branch
        for index, branch in enumerate(walk.branches)
        if index < BRANCHES_SHOWN or branch.legal is False or branch.unclear
    ]
    several = len({_clients_key(branch.clients) for branch in shown}) > 1
    for _, group in groupby(shown, key=lambda branch: _clients_key(branch.clients)):
        branches = list(group)
        if several:
            lines.extend(paragraphs(f"Clients {_clients(branches[0].clients)}:", style.width, indent=_INDENT))
        lines.extend(_tree(branches, style))
    if len(shown) < len(walk.branches):
        lines.append(
            f"{_INDENT}and {count(len(walk.branches) - len(shown), 'more branch', 'more branches')} as expected"
        )
    expected = f"{_INDENT}expected: "
    lines.extend(["", *paragraphs(walk.expected, style.width, indent=" " * len(expected), first=expected)])
    for text in walk.missing:
        missing = f"{_INDENT}missing:  "
        found = paragraphs(text, style.width, indent=" " * len(missing), first=missing)
        lines.extend(style.ink(line, Ink.ERROR) for line in found)
    return lines


def _tree(branches: Sequence[TraceBranch], style: Style) -> list[str]:
    """Rules that a branch has in common with the one before it are printed once.

    Every line is `LINE CHAIN ACTION SHARE`, indented by how deep the chain is; a heading stands where hook, table or
    dump change. The share is printed where it changes.
    """
    steps = [step for branch in branches for step in branch.steps]
    columns = _columns(steps, style)
    lines: list[str] = []
    before: Sequence[TraceStep] = ()
    for number, branch in enumerate(branches, start=1):
        common = _common(before, branch.steps)
        here = _Place("", "", "")
        if number > 1:
            fork = f": back in {visible(branch.steps[common].chain)}" if 0 < common < len(branch.steps) else ""
            lines.append(f"{_INDENT}branch {number} of {len(branches)}{fork}")
        share = 1.0
        for step in branch.steps[common:]:
            place = _place(step, here)
            if place != here:
                lines.extend(paragraphs(place.text, style.width, indent=_INDENT))
            here = place
            lines.extend(_step(step, columns, style, with_share=step.share != share))
            share = step.share
        lines.extend(_end(branch, style))
        before = branch.steps
    return lines


def _common(before: Sequence[TraceStep], steps: Sequence[TraceStep]) -> int:
    """How many steps at the start are the same rules with the same effect; shares may differ where the way forks."""
    number = 0
    for old, new in zip(before, steps, strict=False):
        if (old.hook, old.table, old.chain, old.action, old.rule) != (
            new.hook,
            new.table,
            new.chain,
            new.action,
            new.rule,
        ):
            break
        number += 1
    return number


class _Place(NamedTuple):
    """Where a step happens: hook, table and the dump that its line numbers count in."""

    hook: str
    table: str
    source: str

    @property
    def text(self) -> str:
        return f"{self.hook}, table {self.table}" + (f"  ({self.source})" if self.source else "")


def _place(step: TraceStep, before: _Place) -> _Place:
    """A policy has no line in a dump; it belongs to the place before it, if hook and table are the same."""
    if step.rule is not None:
        return _Place(step.hook, step.table, step.rule.source)
    same = (step.hook, step.table) == (before.hook, before.table)
    return _Place(step.hook, step.table, before.source if same else "")


def _columns(steps: Sequence[TraceStep], style: Style) -> tuple[int, int, int]:
    """Width of the line numbers, columns that a deeper chain is indented by, and width of the chains."""
    number = max((len(str(step.rule.line)) for step in steps if step.rule is not None), default=1)
    for deeper in (2, 1):
        chain = max((deeper * step.depth + len(visible(step.chain)) for step in steps), default=0)
        action = max((len(visible(step.action)) for step in steps), default=0)
        if len(_INDENT) * 2 + number + 2 + chain + 2 + action + 8 <= style.width:
            break
    return number, deeper, chain


def _step(step: TraceStep, columns: tuple[int, int, int], style: Style, *, with_share: bool) -> list[str]:
    number, deeper, chain = columns
    line_number = str(step.rule.line) if step.rule is not None else ""
    name = " " * (deeper * step.depth) + visible(step.chain)
    head = f"{_INDENT * 2}{line_number:>{number}}  {name:<{chain}}  "
    share = f"  {_percent(step.share)}" if with_share else ""
    doubt = "  (cannot tell whether it matches)" if step.unclear else ""
    lines = paragraphs(f"{step.action}{share}{doubt}", style.width, indent=" " * len(head), first=head)
    return [style.ink(line, Ink.WARNING) for line in lines] if step.unclear else lines


def _end(branch: TraceBranch, style: Style) -> list[str]:
    parts = [_fate(branch.fate)]
    if branch.endpoint:
        parts[0] += f" ({branch.endpoint})"
    if branch.fate.disposition is Disposition.BACKEND:
        parts.append(_source(branch))
    if branch.fate.affinity_s is not None:
        parts.append(f"the client stays with this endpoint for {branch.fate.affinity_s} s")
    if branch.unclear:
        word, ink = "cannot tell", Ink.WARNING
    elif branch.legal is None:
        word, ink = "not judged", Ink.WARNING
    else:
        word, ink = ("as expected", Ink.GOOD) if branch.legal else ("WRONG", Ink.ERROR)
    share = _percent(branch.share) if branch.share < 0.9999995 else "every connection"
    first = f"{_INDENT}=> {word}, {share}: "
    lines = paragraphs("; ".join(parts), style.width, indent=_INDENT + "   ", first=first)
    return [style.ink(line, ink) for line in lines]


def _fate(fate: Fate) -> str:
    to = f" to {fate.backend}" if fate.backend is not None else ""
    return {
        Disposition.BACKEND: f"arrives at {fate.backend}",
        Disposition.UNTRANSLATED: "goes on with its destination unchanged: no rule takes it for a Service",
        Disposition.REJECTED: f"refused{f' after DNAT{to}' if to else ''}: the client gets an error at once",
        Disposition.DROPPED: f"dropped{f' after DNAT{to}' if to else ''}: the client waits until it gives up",
        Disposition.UNKNOWN: "taken by a target whose effect kdiag does not know",
    }[fate.disposition]


def _source(branch: TraceBranch) -> str:
    seen = f", source address: {branch.source_address}" if branch.source_address else ""
    return {
        Masquerade.NO: "not masqueraded",
        Masquerade.PROXY: "masqueraded by kube-proxy",
        Masquerade.OTHER: "masqueraded by a rule that is not kube-proxy's",
    }[branch.fate.masquerade] + seen


def _clients_key(clients: ClientSet) -> tuple[object, ...]:
    interfaces = None if clients.interfaces is None else tuple(sorted(clients.interfaces))
    return clients.addresses.family, clients.addresses.ranges, interfaces


def _clients(clients: ClientSet) -> str:
    if clients.interfaces is None:
        return clients.addresses.describe()
    names = [interface or "any other interface" for interface in sorted(clients.interfaces, key=lambda i: (not i, i))]
    return f"{clients.addresses.describe()} by {', '.join(names)}"


def _percent(share: float) -> str:
    """`33.3%`; what is not nothing is not printed as nothing."""
    if 0 < share < 0.0005:
        return "<0.1%"
    return f"{100 * share:.1f}".rstrip("0").rstrip(".") + "%"


def _summary(trace: Trace, style: Style) -> str:
    broken = [verdict for verdict in trace.verdicts if verdict.ok is False]
    unknown = [verdict for verdict in trace.verdicts if verdict.ok is None]
    everywhere = count(len({verdict.node for verdict in trace.verdicts}), "node")
    if broken:
        names = sorted({verdict.node for verdict in broken})
        doubt = f"; cannot tell for {len(unknown)}" if unknown else ""
        text = f"BROKEN in {len(broken)} of {len(trace.verdicts)} cases, on {len(names)} of {everywhere}{doubt}"
        return style.ink(text, Ink.ERROR)
    if unknown:
        text = f"cannot tell in {len(unknown)} of {len(trace.verdicts)} cases; the others are ok"
        return style.ink(text if len(unknown) < len(trace.verdicts) else "cannot tell in any case", Ink.WARNING)
    if not trace.verdicts:
        return "nothing to judge"
    number = len(trace.verdicts)
    return style.ink(f"ok in {number} of {count(number, 'case')}, on {everywhere}", Ink.GOOD)
