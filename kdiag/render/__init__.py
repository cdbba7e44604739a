"""Answers as text: one format a file, and the registry of all of them."""

from __future__ import annotations

from kdiag.render.dot import DOT
from kdiag.render.github import GITHUB
from kdiag.render.html import HTML
from kdiag.render.interface import Format
from kdiag.render.json import JSON
from kdiag.render.junit import JUNIT
from kdiag.render.markdown import MARKDOWN
from kdiag.render.mermaid import MERMAID
from kdiag.render.sarif import SARIF
from kdiag.render.svg import SVG
from kdiag.render.text import TEXT
from kdiag.render.yaml import YAML

FORMATS: tuple[Format, ...] = (TEXT, JSON, YAML, JUNIT, SARIF, GITHUB, MARKDOWN, HTML, SVG, MERMAID, DOT)


def format_named(slug: str) -> Format:
    """The format that `-o slug` asks for; raises KeyError for one that is not in FORMATS."""
    return {item.slug: item for item in FORMATS}[slug]
