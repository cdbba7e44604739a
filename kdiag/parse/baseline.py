"""The file of a baseline: TOML, one `[[accepted]]` for each finding that is accepted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, datetime
from typing import Any

from kdiag.errors import ParseError
from kdiag.model.baseline import Baseline, BaselineEntry, BaselineKey
from kdiag.model.lookup import did_you_mean
from kdiag.parse.toml_document import TomlDocument, parse_toml

TABLE = "accepted"
VERSION = 1

_WHERE = ("node", "service", "port", "frontend")
_KEYS = ("code", *_WHERE, "reason", "owner", "expires")
_TOP = ("version", TABLE)
_ADVICE = {
    "reason": "say why it is accepted",
    "owner": "say who answers for it",
    "expires": "give the last day on which it is accepted, as in 2027-01-31",
}


def parse_baseline(text: str, origin: str, *, codes: Collection[str]) -> Baseline:
    """The entries in their order. `codes` are those of the checks there are.

    Raises ParseError, with the line, for what is no TOML, for unknown keys and codes, for an entry without a reason, an
    owner or a day, and for one that repeats another.
    """
    document = parse_toml(text, origin)
    for key in document.content:
        if key not in _TOP:
            raise _unknown(document, key, _TOP, document.line_of(key) or document.line_of("", table=key))
    if document.content.get("version", VERSION) != VERSION:
        raise ParseError(
            f"{document.place(document.line_of('version'))}: version {document.content['version']!r} is not known",
            hint=f"this kdiag reads version {VERSION}",
        )
    tables = document.content.get(TABLE, [])
    if not isinstance(tables, list) or not all(isinstance(item, dict) for item in tables):
        line = document.line_of(TABLE) or document.line_of("", table=TABLE)
        raise ParseError(
            f"{document.place(line)}: {TABLE} is not a list of tables", hint=f"[[{TABLE}]] begins each entry"
        )
    entries: dict[BaselineKey, BaselineEntry] = {}
    for index, table in enumerate(tables):
        entry = _entry(document, table, index, codes)
        before = entries.setdefault(entry.key, entry)
        if before is not entry:
            raise ParseError(
                f"{document.place(entry.line)}: {entry.key} is accepted twice, first on line {before.line}",
                hint="delete one of them",
            )
    return Baseline(path=origin, entries=tuple(entries.values()))


def _entry(document: TomlDocument, table: Mapping[str, Any], index: int, codes: Collection[str]) -> BaselineEntry:
    def line(key: str) -> int:
        return document.line_of(key, table=TABLE, index=index)

    for key in table:
        if key not in _KEYS:
            raise _unknown(document, key, _KEYS, line(key))
    texts = {key: _text(document, table, key, line(key)) for key in _KEYS if key != "expires"}
    for key in ("code", "reason", "owner"):
        if texts[key] is None:
            missing = "is missing" if key not in table else "is empty"
            hint = _ADVICE.get(key, "say which check it is about, as in KD204")
            raise ParseError(f"{document.place(line(key))}: {key} {missing}", hint=hint)
    code = texts["code"] or ""
    if code not in codes:
        hint = did_you_mean(code, codes) or "kdiag explain lists all checks"
        raise ParseError(f"{document.place(line('code'))}: there is no check {code!r}", hint=hint)
    where = {key: texts[key] for key in _WHERE}
    return BaselineEntry(
        key=BaselineKey(code=code, **where),
        reason=texts["reason"] or "",
        owner=texts["owner"] or "",
        expires=_day(document, table, line("expires")),
        line=line(""),
    )


def _text(document: TomlDocument, table: Mapping[str, Any], key: str, line: int) -> str | None:
    """None where it is missing or holds nothing but space."""
    value = table.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        raise ParseError(f"{document.place(line)}: {key} is not a text", hint=f'{key} = "{value}"')
    return value.strip() or None


def _day(document: TomlDocument, table: Mapping[str, Any], line: int) -> date:
    value = table.get("expires")
    if isinstance(value, datetime):
        value = value.date()
    if isinstance(value, date):
        return value
    if value is None or value == "":
        missing = "is missing" if value is None else "is empty"
        raise ParseError(f"{document.place(line)}: expires {missing}", hint=_ADVICE["expires"])
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise ParseError(f"{document.place(line)}: expires is not a day: {value!r}", hint=_ADVICE["expires"]) from None


def _unknown(document: TomlDocument, key: str, known: Collection[str], line: int) -> ParseError:
    hint = did_you_mean(key, known) or f"the keys are {', '.join(known)}"
    return ParseError(f"{document.place(line)}: there is no key {key!r}", hint=hint)
