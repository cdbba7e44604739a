"""JUnit XML, for the test pages of CI systems.

There is no standard; this is what Jenkins, GitLab and GitHub's reporters all read: a `testcase` with one of `failure`,
`error` and `skipped`. A finding is a failed test (`info` a passed one with output), something that could not be examined
an `error`, something accepted, not applicable or not asked for `skipped`. One test more, always there, holds the
summary: CI systems take a file without any test for a mistake.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC

from msgspec import Struct

from kdiag.model.report import Finding, Gap, GapKind, Report, Severity
from kdiag.render.interface import Format
from kdiag.render.layout import visible
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

_GAPS_CLASS = "kdiag.not-examined"


class _Case(Struct, frozen=True, kw_only=True):
    """One test. `outcome` is the name of the element that says how it went, None if it passed."""

    class_name: str
    title: str
    outcome: str | None = None
    kind: str = ""
    message: str = ""
    details: str = ""
    output: str = ""


def _junit(report: Report, _style: Style) -> str:
    cases = [*_summary(report), *(_finding(finding) for finding in report.findings), *_gaps(report.gaps)]
    counts = Counter(case.outcome for case in cases)
    numbers = _attributes(
        tests=str(len(cases)),
        failures=str(counts["failure"]),
        errors=str(counts["error"]),
        skipped=str(counts["skipped"]),
        time="0",
    )
    taken_at = report.taken_at
    stamp = "" if taken_at is None else _attributes(timestamp=f"{taken_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}")
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f"<testsuites{_attributes(name='kdiag')}{numbers}>",
        f"  <testsuite{_attributes(name=f'kdiag {report.cluster}')}{numbers}{stamp}>",
    ]
    seen: Counter[tuple[str, str]] = Counter()
    for case in cases:
        seen[case.class_name, case.title] += 1
        lines += _element(case, seen[case.class_name, case.title])
    lines += ["  </testsuite>", "</testsuites>"]
    # Pure ASCII: right whatever encoding the file is taken to have.
    return "\n".join(lines).encode("ascii", "xmlcharrefreplace").decode("ascii") + "\n"


def _summary(report: Report) -> Iterator[_Case]:
    lines = [report_heading(report), summary_line(report)]
    if report.baseline is not None:
        lines += [f"no longer needed in {report.baseline.path}: {entry}" for entry in report.baseline.unneeded]
    yield _Case(class_name="kdiag", title="summary", output="\n".join(lines))


def _finding(finding: Finding) -> _Case:
    class_name = f"kdiag.{finding.code}.{finding.slug}"
    title = ": ".join(part for part in (place(finding), finding.title) if part)
    details = _details(finding)
    if finding.acceptance is not None and finding.accepted:
        message = acceptance_words(finding.acceptance)
        return _Case(class_name=class_name, title=title, outcome="skipped", message=message, output=details)
    if finding.severity is Severity.INFO:
        return _Case(class_name=class_name, title=title, output=details)
    first = (finding.message or finding.title).split("\n")[0]
    return _Case(
        class_name=class_name,
        title=title,
        outcome="failure",
        kind=finding.severity.value,
        message=first,
        details=details,
    )


def _details(finding: Finding) -> str:
    lines = [f"{finding.severity.value.upper()} {finding.code} {finding.slug} {place(finding)}".rstrip()]
    if finding.acceptance is not None:
        lines.append(acceptance_words(finding.acceptance))
    lines += (finding.message or finding.title).split("\n")
    for label, value in (
        ("address", finding.frontend),
        ("expected", finding.expected),
        ("actual", finding.actual),
    ):
        if value:
            lines.append(f"{label}: {value}")
    lines += [f"affected: {label}" for label in other_places(finding)]
    for item in by_file(finding.evidence):
        lines.append(f"{item.source}{f':{item.line}' if item.line else ''}  {item.text}".rstrip())
    if finding.hint:
        lines.append(f"hint: {finding.hint}")
    return "\n".join(lines)


def _gaps(gaps: Sequence[Gap]) -> Iterator[_Case]:
    for kind, heading in GAP_HEADINGS:
        for subject, reason, nodes in gap_groups(gap for gap in gaps if gap.kind is kind):
            words = gap_words(subject, reason, nodes)
            failed = kind is GapKind.FAILED
            yield _Case(
                class_name=_GAPS_CLASS,
                title=words,
                outcome="error" if failed else "skipped",
                kind=kind.value if failed else "",
                message=f"{heading}: {reason}",
                details="\n".join(f"{node}: {subject}: {reason}" for node in nodes) if failed else "",
            )


def _element(case: _Case, number: int) -> list[str]:
    """The test as lines of XML. Those that read it tell tests apart by class and title, so a second one gets a number."""
    title = case.title if number == 1 else f"{case.title} ({number})"
    lines = [f"    <testcase{_attributes(classname=case.class_name, name=title, time='0')}>"]
    if case.outcome is not None:
        kind = _attributes(type=case.kind) if case.kind else ""
        opening = f"      <{case.outcome}{_attributes(message=case.message)}{kind}"
        lines.append(f"{opening}>{_text(case.details)}</{case.outcome}>" if case.details else f"{opening}/>")
    if case.output:
        lines.append(f"      <system-out>{_text(case.output)}</system-out>")
    return [*lines, "    </testcase>"]


def _attributes(**values: str) -> str:
    return "".join(f' {key}="{_escaped(visible(value))}"' for key, value in values.items())


def _text(value: str) -> str:
    return _escaped("\n".join(visible(line) for line in value.split("\n")))


def _escaped(text: str) -> str:
    """Also `>`: the only thing that makes `]]>` harmless outside of CDATA, and CDATA is not used."""
    for raw, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(raw, entity)
    return text


JUNIT = Format(slug="junit", report=_junit)
