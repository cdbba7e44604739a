"""YAML output: the JSON documents in another spelling."""

from __future__ import annotations

import msgspec
import yaml

from kdiag.render.documents import flags_document, report_document
from kdiag.render.interface import Format
from kdiag.render.json import Document
from kdiag.render.trace_document import trace_document


def _yaml(document: Document) -> str:
    # The dumper in Python on purpose: the one in C breaks long lines elsewhere, and not every build of PyYAML has it.
    text: str = yaml.safe_dump(_whole(msgspec.to_builtins(document)), sort_keys=False, allow_unicode=False, width=120)
    return text


def _whole(value: object) -> object:
    """The value with U+FFFD for half a surrogate pair, which JSON can hold and YAML cannot (1.2.2, section 5.1)."""
    match value:
        case str():
            if value.isascii():
                return value
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case dict():
            return {_whole(key): _whole(item) for key, item in value.items()}
        case list() | tuple():
            return [_whole(item) for item in value]
    return value


YAML = Format(
    slug="yaml",
    report=lambda report, _style: _yaml(report_document(report)),
    trace=lambda trace, _style: _yaml(trace_document(trace)),
    facts=lambda facts, _style: _yaml(flags_document(facts)),
)
