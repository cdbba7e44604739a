"""The report as one page that opens from disk."""

from __future__ import annotations

from kdiag.render.html.page import report_page
from kdiag.render.interface import Format

HTML = Format(slug="html", report=report_page)
