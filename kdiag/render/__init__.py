"""Answers as text: one format a file, and the registry of all of them."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from kdiag.render.interface import Format

SLUGS = ("text", "json", "yaml", "junit", "sarif", "github", "markdown", "html", "svg", "mermaid", "dot")
"""What `-o` takes, in the order of the help. The format `json` is JSON in the module `json` beside this one."""


@cache
def format_named(slug: str) -> Format:
    """The format that `-o slug` asks for; raises KeyError for one that is not in SLUGS. The others are not imported."""
    if slug not in SLUGS:
        raise KeyError(slug)
    form: Format = getattr(import_module(f"kdiag.render.{slug}"), slug.upper())
    return form


def all_formats() -> tuple[Format, ...]:
    """Every format, in the order of the help."""
    return tuple(format_named(slug) for slug in SLUGS)
