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


class _Change(msgspec.Struct, gc=False):
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
_BETWEEN, _END = b",\n", b"\n]}\n"
_ITEMS, _ITEMS_END = b'"items":[', b"]}"
_LONGEST_HEAD_BYTES = 4096
_OBJECT_START = b'{"metadata":{"name":"'
_BEFORE_OBJECTS = b"[,\n"
_MANAGED_FIELDS = b'"managedFields"'
_LIST_OF_CHANGES = _MANAGED_FIELDS + b":["
_COMMA, _BACKSLASH = ord(","), ord("\\")
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

        Raises ParseError if the bytes are no page of a list. Of a page that looks as a server writes it that is seen by
        its ends: objects are decoded when they are read, and what is wrong with one shows then.
        """
        found, pieces = _in_pieces(page) or _object_by_object(page)
        self._kind = self._kind or found.kind
        self._api_version = self._api_version or found.api_version
        self._resource_version = found.metadata.resource_version or self._resource_version
        if not self._head:
            self._head = self._head_with("")
            self._document.write(self._head)
        if pieces:
            if not self._is_empty:
                self._document.write(_BETWEEN)
            self._is_empty = False
            self._document.writelines(pieces)
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


def _in_pieces(page: bytes) -> tuple[_Page, list[bytes | memoryview]] | None:
    """A page without its objects, and these, one a line, as `with_time_of_change` leaves them, in pieces that are not
    copied. None unless both take no more than to put pieces of text in the place of others: no object is decoded for it.
    """
    start, end = page.find(_ITEMS, 0, _LONGEST_HEAD_BYTES) + len(_ITEMS), page.rfind(_ITEMS_END)
    item = page.find(_OBJECT_START, start, start + len(_OBJECT_START) + 1)
    if start < len(_ITEMS) or item < 0 or page[start:item].strip() or page[end:].strip() != _ITEMS_END:
        return None
    try:
        found = _PAGE.decode(page[:start] + _ITEMS_END)
    except _MALFORMED:
        return None
    view, done = memoryview(page), item
    pieces: list[bytes | memoryview] = []
    # An object of a list begins with its name, behind a comma or on a line of its own. (In JSON a quote within a string is escaped, so
    # that its start is never found in one.) Should that be another list, a line ends where it need not, which is no harm.
    while item >= 0:
        following = page.find(_OBJECT_START, item + 1, end)
        before = page[item - 1]
        if before == _COMMA:
            pieces += (view[done:item], b"\n")
            done = item
        if before in _BEFORE_OBJECTS:
            # The changes stand in an object's metadata and in nothing that is in it.
            stop = following if following >= 0 else end
            key = page.find(_LIST_OF_CHANGES, item, stop)
            if key >= 0:
                short = _shortened(page, view, item, key, stop)
                if short is None:
                    return None
                pieces += (view[done : short[0]], short[1])
                done = short[2]
        item = following
    pieces.append(bytes(view[done:end]).strip())
    return found, pieces


def _shortened(page: bytes, view: memoryview, item: int, key: int, stop: int) -> tuple[int, bytes, int] | None:
    """Where the changes of an object begin whose key is there, what to put in their place, and where they end; None if that
    is not seen at once, before `stop`."""
    if page.count(b"{", item, key) - page.count(b"}", item, key) != 2 or page[key - 1] == _BACKSLASH:
        return None
    start = end = key + len(_LIST_OF_CHANGES) - 1
    for _ in range(_MOST_ENDS):
        end = page.find(b"]", end, stop) + 1
        if not end:
            return None
        try:
            changes = _CHANGES.decode(view[start:end])
        except _MALFORMED:
            continue  # that was within a string: what is a whole list is the list that began there
        latest = _latest(changes)
        return (start, _one_change(latest), end) if latest is not None else None
    return None


def _latest(changes: list[_Change]) -> str | None:
    """When an object was changed last; None if no change tells its time."""
    if len(changes) == 1:
        return changes[0].time or None
    return max([change.time for change in changes if change.time], default=None)


def _object_by_object(page: bytes) -> tuple[_Page, list[bytes | memoryview]]:
    """The same as `_in_pieces` of every page. Raises ParseError if the bytes are no page of a list."""
    try:
        found = _PAGE.decode(page)
    except _MALFORMED as error:
        raise ParseError(f"not a list: {error}") from error
    lines = _BETWEEN.join([with_time_of_change(bytes(item)) for item in found.items or ()])
    return found, [lines] if lines else []


def with_time_of_change(item: bytes) -> bytes:
    """An encoded object on one line; of metadata.managedFields only the latest time is kept.

    They say who wrote what, are often its larger half, and `kubectl get -o json` leaves them out, too (since 1.21). When
    an object changed last tells whether proxies can have followed. Everything else stays as the server wrote it; what is
    no object is returned as it is.
    """
    try:
        if _MANAGED_FIELDS in item:
            found = _OBJECT.decode(item)
            metadata = _OBJECT.decode(found["metadata"])
            changes = metadata.get("managedFields")
            if changes is not None:
                latest = _latest(_CHANGES.decode(changes))
                if latest is None:
                    del metadata["managedFields"]
                else:
                    metadata["managedFields"] = msgspec.Raw(_one_change(latest))
                found["metadata"] = msgspec.Raw(_ENCODER.encode(metadata))
                item = _ENCODER.encode(found)
    except (*_MALFORMED, KeyError):
        return item
    # Line ends in JSON stand between tokens only; those within strings are escaped.
    return item.replace(b"\n", b" ") if b"\n" in item else item


@lru_cache(4096)
def _one_change(time: str) -> bytes:
    return _ENCODER.encode([{"time": time}])
