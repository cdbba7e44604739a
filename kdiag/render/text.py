"""Text output, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdiag.render.interface import Format

if TYPE_CHECKING:
    from kdiag.model.facts import Facts
    from kdiag.model.report import Report
    from kdiag.model.trace import Trace
    from kdiag.render.style import Style


# A run gives one kind of answer: the modules of the others are not imported.
def _report(report: Report, style: Style) -> str:
    from kdiag.render.text_report import report_text

    return report_text(report, style)


def _trace(trace: Trace, style: Style) -> str:
    from kdiag.render.text_trace import trace_text

    return trace_text(trace, style)


def _facts(facts: Facts, style: Style) -> str:
    from kdiag.render.text_facts import facts_text

    return facts_text(facts, style)


TEXT = Format(slug="text", report=_report, trace=_trace, facts=_facts)
