"""YAML output: the JSON documents in another spelling."""

from __future__ import annotations

import msgspec
import yaml

from kdiag.render.documents import Document, flags_document, report_document, trace_document
from kdiag.render.interface import Format


def _yaml(document: Document) -> str:
    # The dumper in Python on purpose: the one in C breaks long lines elsewhere, and not every build of PyYAML has it.
    text: str = yaml.safe_dump(msgspec.to_builtins(document), sort_keys=False, allow_unicode=False, width=120)
    return text


YAML = Format(
    slug="yaml",
    report=lambda report, _style: _yaml(report_document(report)),
    trace=lambda trace, _style: _yaml(trace_document(trace)),
    facts=lambda facts, _style: _yaml(flags_document(facts)),
)
