"""JSON output, and the JSON Schemas of what it prints."""

from __future__ import annotations

import json

import msgspec

from kdiag.render.documents import FlagsV1, ReportV1, flags_document, report_document
from kdiag.render.interface import Format
from kdiag.render.trace_document import TraceV1, trace_document

Document = ReportV1 | TraceV1 | FlagsV1
DOCUMENTS: tuple[tuple[str, type[msgspec.Struct]], ...] = (("report", ReportV1), ("trace", TraceV1), ("flags", FlagsV1))
"""Name and type of every document, as `docs/NAME.schema.json` publishes them."""


def schema_text(slug: str, document_type: type[msgspec.Struct]) -> str:
    """The published JSON Schema (2020-12) of a document, as a file's text."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"kdiag {slug}, version 1",
        **msgspec.json.schema(document_type),
    }
    return json_text(schema)


def json_text(value: object) -> str:
    """A value as every JSON answer is written."""
    # Pure ASCII: no locale, terminal or bidirectional override can do anything to it.
    text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    try:
        # A third of the time that json takes to indent.
        return msgspec.json.format(text, indent=2) + "\n"
    except msgspec.DecodeError:  # half of a surrogate pair
        return json.dumps(value, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def _json(document: Document) -> str:
    return json_text(msgspec.to_builtins(document))


JSON = Format(
    slug="json",
    report=lambda report, _style: _json(report_document(report)),
    trace=lambda trace, _style: _json(trace_document(trace)),
    facts=lambda facts, _style: _json(flags_document(facts)),
)
