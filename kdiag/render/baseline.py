"""A report as a baseline: `--write-baseline`. The inverse of `kdiag.parse.baseline`."""

from __future__ import annotations

from collections.abc import Iterator

from kdiag.model.baseline import BaselineEntry, BaselineKey
from kdiag.model.report import Finding, Report
from kdiag.render.layout import visible

_HEAD = """\
# Findings that kdiag reports and that are accepted: kdiag preflight --baseline FILE shows them, and does not count them.
# An entry answers to findings with just its code, node, service, port and frontend; node = "*" stands for every node.
# Every entry needs a reason, an owner, and the last day on which it holds (UTC), as in expires = 2027-01-31.
version = 1
"""


def baseline_text(report: Report, known: tuple[BaselineEntry, ...] = ()) -> str:
    """A file that accepts every finding of the report, with what must be filled in left empty.

    `known` are the entries of the baseline that the report was held against. They are kept as they are, expired or not,
    except for those that the report calls unneeded.
    """
    unneeded = () if report.baseline is None else report.baseline.unneeded
    entries = {entry.key: entry for entry in known if entry not in unneeded}
    titles: dict[BaselineKey, str] = {}
    for finding in report.findings:
        keys = [key for key in entries if key.covers(finding)] or [_key(finding)]
        for key in keys:
            titles.setdefault(key, f"{finding.severity.value}: {finding.title}")
    keys = [*(key for key in titles if key not in entries), *entries]
    blocks = [_entry(key, titles.get(key, ""), entries.get(key)) for key in sorted(keys, key=_order)]
    return "\n".join([_HEAD, *("\n".join(block) + "\n" for block in blocks)])


def _order(key: BaselineKey) -> tuple[str, str, str, str, str]:
    return (key.code, key.node or "", key.service or "", key.port or "", key.frontend or "")


def _key(finding: Finding) -> BaselineKey:
    return BaselineKey(
        code=finding.code,
        node=finding.node,
        service=finding.service,
        port=finding.port,
        frontend=finding.frontend,
    )


def _entry(key: BaselineKey, title: str, entry: BaselineEntry | None) -> Iterator[str]:
    if title:
        yield f"# {visible(title)}"
    yield "[[accepted]]"
    for word, value in (
        ("code", key.code),
        ("node", key.node),
        ("service", key.service),
        ("port", key.port),
        ("frontend", key.frontend),
    ):
        if value is not None:
            yield f"{word} = {_quoted(value)}"
    yield f"reason = {_quoted('' if entry is None else entry.reason)}"
    yield f"owner = {_quoted('' if entry is None else entry.owner)}"
    yield 'expires = ""' if entry is None else f"expires = {entry.expires.isoformat()}"


def _quoted(text: str) -> str:
    """A basic string of TOML: backslashes, quotes and everything that is not printable are escaped."""
    out = []
    for ch in text:
        if ch in '\\"':
            out.append("\\" + ch)
        elif ch.isprintable():
            out.append(ch)
        elif 0xD800 <= ord(ch) <= 0xDFFF:
            out.append("\\uFFFD")  # TOML has no lone surrogates
        else:
            out.append(f"\\U{ord(ch):08X}")
    return f'"{"".join(out)}"'
