"""Annotations of GitHub Actions: workflow commands, one a line, that a runner finds in the output of a step.

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands

A runner shows at most 10 errors, 10 warnings and 10 notices of a step as annotations, and all of them in its log. So the
summary comes first, and nodes that share a gap share a line. The job summary is the Markdown format, which the command
line appends to the file that GITHUB_STEP_SUMMARY names.
"""

from __future__ import annotations

from collections.abc import Iterator

from kdiag.model.report import Finding, GapKind, Report, Severity
from kdiag.render.interface import Format
from kdiag.render.layout import at_most, visible
from kdiag.render.phrases import (
    GAP_HEADINGS,
    acceptance_words,
    by_file,
    gap_groups,
    gap_words,
    other_places,
    place,
    report_heading,
    summary_line,
)
from kdiag.render.style import Style

AFFECTED_SHOWN = 20
EVIDENCE_SHOWN = 8

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


def _github(report: Report, _style: Style) -> str:
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield _command("notice", "kdiag", f"{report_heading(report)}\n{summary_line(report)}")
    for finding in report.counting:
        yield _command(_COMMANDS[finding.severity], _title(finding), "\n".join(_body(finding)))
    for kind, heading in GAP_HEADINGS:
        for subject, reason, nodes in gap_groups(gap for gap in report.gaps if gap.kind is kind):
            command = "warning" if kind is GapKind.FAILED else "notice"
            yield _command(command, f"kdiag: {heading}", gap_words(subject, reason, nodes))
    for finding in report.accepted:
        yield _command("notice", f"Accepted: {_title(finding)}", "\n".join(_body(finding)))
    if report.baseline is not None:
        for entry in report.baseline.unneeded:
            yield _command("notice", f"No longer needed in {report.baseline.path}", str(entry))


def _title(finding: Finding) -> str:
    return f"{finding.code} {finding.slug} {place(finding)}".rstrip()


def _body(finding: Finding) -> Iterator[str]:
    if finding.acceptance is not None:
        yield acceptance_words(finding.acceptance)
    yield from (finding.message or finding.title).split("\n")
    for label, value in (
        ("address", finding.frontend),
        ("expected", finding.expected),
        ("actual", finding.actual),
    ):
        if value:
            yield f"{label}: {value}"
    places = other_places(finding)
    if places:
        yield f"affected: {', '.join(at_most(places, AFFECTED_SHOWN))}"
    for item in by_file(finding.evidence[:EVIDENCE_SHOWN]):
        yield f"{item.source}{f':{item.line}' if item.line else ''}  {item.text}".rstrip()
    if finding.hint:
        yield f"hint: {finding.hint}"


def _command(name: str, title: str, body: str) -> str:
    message = "\n".join(visible(line) for line in body.split("\n"))
    return f"::{name} title={_property(visible(title))}::{_message(message)}"


def _message(text: str) -> str:
    """As the runner's toolkit does it (`escapeData`): what is left can end neither the line nor the command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """`escapeProperty` of the toolkit."""
    return _message(text).replace(":", "%3A").replace(",", "%2C")


GITHUB = Format(slug="github", report=_github)
