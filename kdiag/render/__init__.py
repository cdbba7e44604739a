"""Answers as text: one format a file, and the registry of all of them."""

from __future__ import annotations

from kdiag.render.interface import Format
from kdiag.render.json import JSON
from kdiag.render.text import TEXT
from kdiag.render.yaml import YAML

FORMATS: tuple[Format, ...] = (TEXT, JSON, YAML)


def format_named(slug: str) -> Format:
    """The format that `-o slug` asks for; raises KeyError for one that is not in FORMATS."""
    return {item.slug: item for item in FORMATS}[slug]
