"""Pages of a list made into one list, object by object as bytes: what kdiag does not use is never built."""

from __future__ import annotations

import io
from collections.abc import Iterable
from functools import lru_cache

import msgspec

from kdiag.errors import ParseError

_Object = dict[str, msgspec.Raw]


class _Meta(msgspec.Struct, rename="camel"):
    """metadata of a page. `continue_` asks for the next one."""

    continue_: str | None = msgspec.field(name="continue", default=None)
    resource_version: str | None = None


class _Change(msgspec.Struct):
    """An entry of metadata.managedFields, as far as it is kept."""

    time: str | None = None


class _Page(msgspec.Struct, rename="camel"):
    """One page, its objects still encoded."""

    kind: str
    items: list[msgspec.Raw] | None
    api_version: str = "v1"
    metadata: _Meta = msgspec.field(default_factory=_Meta)


_PAGE = msgspec.json.Decoder(_Page)
_OBJECT = msgspec.json.Decoder(_Object)
_CHANGES = msgspec.json.Decoder(list[_Change])
_ENCODER = msgspec.json.Encoder()
_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_MANAGED_FIELDS = b'"managedFields"'
_LIST_OF_CHANGES = _MANAGED_FIELDS + b":["
_METADATA_FIRST = b'{"metadata":{'
_BACKSLASH = ord("\\")
_MOST_ENDS = 8
"""How many places are tried as the end of the changes: the first is nearly always the one."""


class JoinedPages:
    """The pages of one list, in the order in which they were added."""

    def __init__(self) -> None:
        self._kind = ""
        self._api_version = ""
        self._resource_version = ""
        self._head = b""
        # Grows as pages come: a list of all objects beside a document of them would be twice as large.
        self._document = io.BytesIO()
        self._is_empty = True

    def add(self, page: bytes) -> str:
        """Adds a page and returns the token that asks for the next one, empty after the last.

        Raises ParseError if the bytes are no page of a list.
        """
        try:
            found = _PAGE.decode(page)
        except _MALFORMED as error:
            raise ParseError(f"not a list: {error}") from error
        self._kind = self._kind or found.kind
        self._api_version = self._api_version or found.api_version
        self._resource_version = found.metadata.resource_version or self._resource_version
        if not self._head:
            self._head = self._head_with("")
            self._document.write(self._head)
        for item in found.items or ():
            if self._is_empty:
                self._is_empty = False
            else:
                self._document.write(_BETWEEN)
            self._document.writelines(_with_time_of_change(bytes(item)))
        return found.metadata.continue_ or ""

    def document(self, *, continue_token: str = "") -> bytes:
        """One list document with one object a line; with a token it says of itself that it is not the whole.

        No page can be added after that.
        """
        self._document.write(_END)
        document = self._document.getvalue()
        head = self._head_with(continue_token)
        return document if head == self._head else head + document[len(self._head) :]

    def _head_with(self, continue_token: str) -> bytes:
        return _head(self._kind, self._api_version, self._resource_version, continue_token)


def list_document(items: Iterable[bytes], *, kind: str, api_version: str) -> bytes:
    """A Kubernetes list of encoded objects, one a line."""
    return _head(kind, api_version, "", "") + _BETWEEN.join(items) + _END


_BETWEEN, _END = b",\n", b"\n]}\n"


def _head(kind: str, api_version: str, resource_version: str, continue_token: str) -> bytes:
    metadata = {"resourceVersion": resource_version, "continue": continue_token}
    head = _ENCODER.encode(
        {
            "kind": kind,
            "apiVersion": api_version,
            "metadata": {key: value for key, value in metadata.items() if value},
        }
    )
    return head[:-1] + b',"items":[\n'


def with_time_of_change(item: bytes) -> bytes:
    """An encoded object on one line; of metadata.managedFields only the latest time is kept.

    They say who wrote what, are often its larger half, and `kubectl get -o json` leaves them out, too (since 1.21). When
    an object changed last tells whether proxies can have followed. Everything else stays as the server wrote it; what is
    no object is returned as it is.
    """
    return b"".join(_with_time_of_change(item))


def _with_time_of_change(item: bytes) -> tuple[bytes | memoryview, ...]:
    """The same in pieces that are not copied."""
    short = _shortened(item)
    if short is not None:
        return short
    try:
        if _MANAGED_FIELDS in item:
            found = _OBJECT.decode(item)
            metadata = _OBJECT.decode(found["metadata"])
            changes = metadata.pop("managedFields", None)
            if changes is not None:
                latest = max((change.time for change in _CHANGES.decode(changes) if change.time), default=None)
                if latest is not None:
                    metadata["managedFields"] = msgspec.Raw(_one_change(latest))
                found["metadata"] = msgspec.Raw(_ENCODER.encode(metadata))
                item = _ENCODER.encode(found)
    except (*_MALFORMED, KeyError):
        return (item,)
    # Line ends in JSON stand between tokens only; those within strings are escaped.
    return (item.replace(b"\n", b" ") if b"\n" in item else item,)


def _shortened(item: bytes) -> tuple[bytes | memoryview, ...] | None:
    """The object with the time of the latest change in place of all changes; None where that takes more than to put one
    piece of text in the place of another."""
    key = item.find(_LIST_OF_CHANGES)
    # Objects of the server begin with their metadata, and the changes stand in it and in nothing that is in it.
    if key < 0 or not item.startswith(_METADATA_FIRST) or b"\n" in item:
        return None
    if item.count(b"{", 0, key) - item.count(b"}", 0, key) != 2 or item[key - 1] == _BACKSLASH:
        return None
    view, start = memoryview(item), key + len(_LIST_OF_CHANGES) - 1
    end = start
    for _ in range(_MOST_ENDS):
        end = item.find(b"]", end) + 1
        if not end:
            return None
        try:
            changes = _CHANGES.decode(view[start:end])
        except _MALFORMED:
            continue  # that was within a string: what is a whole list is the list that began there
        latest = max([change.time for change in changes if change.time], default=None)
        return None if latest is None else (view[:start], _one_change(latest), view[end:])
    return None


@lru_cache(4096)
def _one_change(time: str) -> bytes:
    return _ENCODER.encode([{"time": time}])
