"""What an output format is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

from kdiag.model.facts import Facts
from kdiag.model.report import Report
from kdiag.render.style import Style

if TYPE_CHECKING:
    from kdiag.model.trace import Trace


def not_made(answer: object, _style: Style) -> str:
    """Stands in a format for the kind of answer that it cannot tell; the command line does not offer it there."""
    raise TypeError(f"this format is not made for {type(answer).__name__}")


class Format(Struct, frozen=True, kw_only=True):
    """One output format: pure functions to text that ends in a newline. Formats for machines take no notice of the style.

    The same value gives the same bytes, whatever the machine, the locale and the order of dictionaries. A format need
    not be made for every kind of answer: `not_made` stands for one that it cannot tell.
    """

    slug: str
    report: Callable[[Report, Style], str] = not_made
    trace: Callable[[Trace, Style], str] = not_made
    facts: Callable[[Facts, Style], str] = not_made
