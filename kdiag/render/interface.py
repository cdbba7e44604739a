"""What an output format is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kdiag.model.facts import Facts
from kdiag.model.report import Report
from kdiag.model.trace import Trace
from kdiag.render.style import Style


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One output format: pure functions to text that ends in a newline. Formats for machines take no notice of the style.

    The same value gives the same bytes, whatever the machine, the locale and the order of dictionaries.
    """

    slug: str
    report: Callable[[Report, Style], str]
    trace: Callable[[Trace, Style], str]
    facts: Callable[[Facts, Style], str]
