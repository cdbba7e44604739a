"""The chains of endpoints: what is alike in them, and where each sends packets to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import compress, count
from operator import itemgetter

from msgspec import Struct, field

from kdiag.parse.chain_merge import Span, chain_at
from kdiag.parse.service_words import COMMENT, HASH_LENGTH, LINK, NOT_SENT, Sent

Form = tuple[bytes, bytes]
"""What is alike in the chains of some endpoints, and their protocol."""


class EndpointForms(Struct):
    """The chains of endpoints.

    `found` holds, for each form and protocol, where each chain, by the hash in its name, sends packets to
    (`10.244.1.5:8080`, `[fd00::5]:8080`). `odd` are the names of chains that have no form: those are read as rules.
    """

    found: Mapping[Form, Mapping[bytes, bytes]] = field(default_factory=dict)
    odd: tuple[bytes, ...] = ()
    declared: bool = False
    """True if it is known that each of these chains is declared, in the same order, and no other."""
    _endings: dict[Form, frozenset[bytes]] = field(default_factory=dict)

    def may_have_port(self, form: Form, port: bytes) -> bool:
        """False if no place of a form has this port: there are few."""
        known = self._endings.get(form)
        if known is None:
            longest = set(map(itemgetter(slice(-_PORT_BYTES, None)), self.found[form].values()))
            endings = [ending[start:] for ending in longest for start in range(len(ending))]
            known = self._endings[form] = frozenset(endings)
        return len(port) >= _PORT_BYTES or b":" + port in known

    def names(self) -> Iterator[bytes]:
        """The hashes in the names of all chains."""
        for places in self.found.values():
            yield from places
        for name in self.odd:
            yield name[-HASH_LENGTH:]

    def sent_to(self, names: tuple[bytes, ...]) -> Sent | None:
        """Where the chains of these names send packets to; None unless all are there and have the same form."""
        if not names:
            return NOT_SENT
        # The dictionary is larger than the processor's caches: with all hashes known, several look-ups wait for memory at once.
        hash(names)
        for (form, protocol), places in self.found.items():
            try:
                found = itemgetter(*names)(places)
            except KeyError:
                continue
            return Sent(form, protocol, b"\n".join(found) if len(names) > 1 else found)
        return None

    def changed(self, gone: Iterable[bytes], come: EndpointForms) -> EndpointForms:
        """The same without some chains, by the hash in their names, and with others. It lives as long as this one."""
        names = dict.fromkeys(gone)
        found = {
            form: _Changed(self.found.get(form, {}), {**names, **come.found.get(form, {})})
            for form in (*self.found, *come.found)
        }
        odd = [name for name in self.odd if name[-HASH_LENGTH:] not in names]
        return EndpointForms({form: places for form, places in found.items() if places}, (*odd, *come.odd))

    def examples(self) -> EndpointForms:
        """One chain of each form, and those without."""
        return EndpointForms({key: dict([next(iter(places.items()))]) for key, places in self.found.items()}, self.odd)


class _Changed(Mapping[bytes, bytes]):
    """A mapping with something else in a few places, and with None where nothing is left. Most of it is too large to
    be copied."""

    __slots__ = ("_changes", "_others")

    def __init__(self, others: Mapping[bytes, bytes], changes: Mapping[bytes, bytes | None]) -> None:
        self._others = others
        self._changes = changes

    def __getitem__(self, name: bytes) -> bytes:
        place = self._changes[name] if name in self._changes else self._others[name]
        if place is None:
            raise KeyError(name)
        return place

    def __iter__(self) -> Iterator[bytes]:
        yield from (name for name in self._others if name not in self._changes)
        yield from (name for name, place in self._changes.items() if place is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return any(True for _ in self)


# One rule masquerades what the endpoint sends to itself, the other translates. What else stands in them makes the form.
_ENDPOINT = re.compile(
    rb"-A KUBE-SEP-([A-Z2-7]{16}) -s ([0-9a-f.:]+)/(?:32|128)([^\n]*) -j KUBE-MARK-MASQ\n"
    rb"-A KUBE-SEP-\1 -p (tcp|udp|sctp)([^\n]*) -m \4 -j DNAT --to-destination ((?:\2|\[\2\]):\d+)\n"
)
_HASH_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
# The name of a chain, of whatever letters; address, protocol unless it is tcp, and place if it has nothing else in it, as most have in a large
# cluster; or else what stands behind its name.
_CHAIN = re.compile(
    rb"-A KUBE-SEP-((?s:.{16})) (?:"
    rb"-s ([0-9a-f.:]++)/(?:32|128) -j KUBE-MARK-MASQ\n"
    rb"-A KUBE-SEP-\1 -p (?:tcp -m tcp|(udp|sctp) -m \3) -j DNAT --to-destination ((?:\2|\[\2\]):\d++)\n"
    rb"(?!-A KUBE-SEP-\1 )"
    rb"|([^\n]*+\n(?:-A KUBE-SEP-\1 [^\n]*+\n)*+))"
)
_GROUPS = _CHAIN.groups + 1
_USUAL = (b"", b"tcp")
_USUAL_LINES = 2
_PORT_BYTES = len(b":65535")
_PIECE_BYTES = 1 << 16
"""How much is read at once: it is made into many small objects, most of which live no longer than the piece is read."""


def endpoint_forms(
    content: bytes,
    region: Span | None,
    counted: list[tuple[Span, int]] | None = None,
    declarations: Span | None = None,
) -> EndpointForms | None:
    """Read the chains of endpoints, which stand together in a region; None if they are not in order or lead on to others. How
    many lines its pieces have is added to `counted`. Their `declarations` are compared with the chains if it is given where they
    stand."""
    usual: dict[bytes, bytes] = {}
    found: dict[Form, dict[bytes, bytes]] = {_USUAL: usual}
    odd: list[bytes] = []
    last = b""
    declared = declarations[0] if declarations is not None else -1
    for start, end in _pieces(content, region) if region is not None else ():
        # What lies between the chains, the names, and so on: one of each for each chain.
        parts = _CHAIN.split(content[start:end])
        names, spoken, others = parts[1::_GROUPS], parts[3::_GROUPS], parts[5::_GROUPS]
        if any(parts[::_GROUPS]) or b"".join(names).translate(None, _HASH_LETTERS):
            return None
        known, lines = len(usual), _USUAL_LINES * len(names)
        usual.update(zip(names, parts[4::_GROUPS], strict=True))
        # In order, and none of them twice.
        if last >= names[0] or names != sorted(names) or len(usual) - known < len(names):
            return None
        last = names[-1]
        if declared >= 0:
            text = b":KUBE-SEP-%b - [0:0]\n" % b" - [0:0]\n:KUBE-SEP-".join(names)
            declared = declared + len(text) if content.startswith(text, declared) else -1
        for at in compress(count(), spoken):
            found.setdefault((b"", spoken[at]), {})[names[at]] = usual.pop(names[at])
        for at in compress(count(), others):
            name = names[at]
            lines += others[at].count(b"\n") - _USUAL_LINES
            del usual[name]
            block = b"-A KUBE-SEP-%b %b" % (name, others[at])
            read = _ENDPOINT.fullmatch(block)
            if read is not None:
                _, _, one, protocol, two, place = read.groups()
                form = one + b"\n" + two
                if b"--comment" in form:
                    form = COMMENT.sub(b"", form)
                form = b"" if form == b"\n" else form.replace(b"KUBE-SEP-" + name, b"\0")
                found.setdefault((form, protocol), {})[name] = place
            elif LINK.search(block):
                return None
            else:
                # A chain may have the usual rules and others beside them.
                odd.append(b"KUBE-SEP-" + name)
        if counted is not None:
            counted.append(((start, end), lines))
    # Where most are is looked first.
    largest_first = sorted(found.items(), key=lambda item: -len(item[1]))
    whole = declarations is not None and declared == declarations[1]
    return EndpointForms({key: places for key, places in largest_first if places}, tuple(odd), whole)


def _pieces(content: bytes, region: Span) -> Iterator[Span]:
    """The region in pieces that end with a chain."""
    start, stop = region
    while start < stop:
        end = min(start + _PIECE_BYTES, stop)
        if end < stop:
            _, end = chain_at(content, content.rfind(b"\n", start, end) + 1 or start, stop)
        yield start, end
        start = end
