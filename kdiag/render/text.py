"""Text output, for people."""

from __future__ import annotations

from kdiag.render.interface import Format
from kdiag.render.text_facts import facts_text
from kdiag.render.text_report import report_text
from kdiag.render.text_trace import trace_text

TEXT = Format(slug="text", report=report_text, trace=trace_text, facts=facts_text)
