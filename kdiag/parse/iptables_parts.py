"""A large `iptables-save` dump that was cut up (`kdiag.parse.iptables_cut`): what its parts hold, and where they stand."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from msgspec import Struct, field

from kdiag.model.addresses import AddressSet
from kdiag.parse.chain_merge import Alike, Span, beginning_at, chain_at
from kdiag.parse.crossings import Crossings
from kdiag.parse.dispatch_lines import DispatchLine
from kdiag.parse.dispatch_regions import Dispatch
from kdiag.parse.endpoint_forms import EndpointForms
from kdiag.parse.iptables_forms import ChainForms, ChainText
from kdiag.parse.line_numbers import LineNumbers, LineNumbersAfter
from kdiag.parse.service_words import ENDPOINT_KIND, LINK, Key

_NEAR_BYTES = 1 << 12
_PART_BYTES = 1 << 16
_MOST_KNOWN = 1 << 14
_SENT_TO = re.compile(rb"--to-destination ([^ \n]+)")
_PLACE = re.compile(rb"(?:[0-9.]+|\[[0-9a-f:.]+\]):[0-9]+")
_ENDPOINT_NAME = re.compile(rb"KUBE-SEP-([A-Z2-7]{16})")


class CutDump(Struct, eq=False):
    """A dump cut up. `chains` are those of Services, with their declarations in `declared` regions.

    `endpoints` are the chains of endpoints, or one of each form where no other dump will be compared with this one. Without
    them it is cut in part: no chain is read but those that are asked for.
    """

    content: bytes
    lines: LineNumbers | LineNumbersAfter
    rest: tuple[Span, ...]
    dispatch: Mapping[Key, tuple[DispatchLine, ...]]
    """The lines for each key: `placed` tells where those stand that are the same in `like`."""
    placed: Dispatch
    chains: Mapping[bytes, Span]
    endpoints: EndpointForms | None
    declared: Mapping[bytes, Span]
    regions: Mapping[bytes, Span]
    """Where the rules of each kind of chain stand together."""
    alone: bool = False
    """True if no other dump will be compared with this one: then the names of endpoints' chains are not kept."""
    like: CutDump | None = None
    """The dump of another node from which was taken over what is the same."""
    changed: frozenset[bytes] = frozenset()
    """The names of Services' chains that are not the same in both, or that lead to endpoints' chains that are not."""
    forms: ChainForms = field(default_factory=ChainForms)
    refusing: frozenset[Key] = frozenset()
    """The keys with rules in the filter table: packets may meet these that were sent to an endpoint."""
    crossings: Crossings = field(default_factory=Crossings)
    led: tuple[frozenset[Key], set[bytes]] | None = None
    """Keys, and the chains of Services that the others lead to: for dumps that are like this one."""
    _texts: dict[bytes, ChainText] = {}
    leading: Mapping[bytes, tuple[bytes, ...]] = {}
    """The chains of Services that lead to others of these, and to which, if it is cut as a whole."""
    _by_form: dict[object, list[bytes]] = {}
    _come: Mapping[bytes, Span] = {}
    """Where the chains of endpoints stand that are not the same in `like`."""
    _alike: Mapping[Span, Alike] = {}
    _found: dict[bytes, Span | None] = {}
    _halves: dict[int, tuple[Span, bytes]] = {}
    """The lines in the middle of a region, of its halves, and so on, and what each begins with."""

    @property
    def is_first(self) -> bool:
        """True if the dumps of other nodes will be compared with this one."""
        return self.like is None and not self.alone

    @property
    def endpoint_region(self) -> Span | None:
        """Where the rules of endpoints' chains stand."""
        return self.regions.get(ENDPOINT_KIND)

    @property
    def addresses(self) -> tuple[AddressSet, ...]:
        """Sets of Services' addresses: iptables mode has none."""
        return ()

    @property
    def marked(self) -> Mapping[bytes, frozenset[bytes]]:
        """Endpoints that are named one by one, by protocol: iptables mode does that in their own chains."""
        return {}

    def text(self, name: bytes) -> ChainText | None:
        """A chain of a Service taken apart; None if the dump has no rules in it."""
        found = self._texts.get(name)
        if found is None and name in self.chains:
            start, end = self.chains[name]
            found = self._texts[name] = self.forms.read(
                name, self.content[start:end], self.endpoints, keep_names=not self.alone
            )
        return found

    @property
    def text_of(self) -> Callable[[bytes], ChainText | None]:
        """What `text` is, quicker where all chains are read."""
        return self.text if self.endpoints is None else self._texts.get

    def read_all(self) -> Mapping[bytes, ChainText]:
        """All chains of Services taken apart, by name."""
        for name in sorted(self.chains.keys() - self._texts.keys()) if self._texts else self.chains:
            self.text(name)
        return self._texts

    def chains_by_form(self) -> Mapping[object, list[bytes]]:
        """The names of Services' chains that are not taken over from another dump, by the number of their form."""
        if not self._by_form:
            for name in self.chains if self.like is None else sorted(self.changed & self.chains.keys()):
                text = self.text(name)
                self._by_form.setdefault(text.form.number if text is not None else None, []).append(name)
        return self._by_form

    def endpoint_names(self, name: bytes) -> tuple[bytes, ...]:
        """The hashes in the names of endpoints' chains to which a chain of a Service leads, in order."""
        start, end = self.chains[name]
        return tuple(_ENDPOINT_NAME.findall(self.content, start, end))

    def texts(self) -> tuple[bytes, ...]:
        """All rules that packets may meet, with what is a Service's own taken out."""
        lines = {line.form.text for found in self.dispatch.values() for line in found}
        shared = self.reached_texts()
        forms = [form for form, _ in self.endpoints.found] if self.endpoints is not None else []
        rest = b"\n".join(line for line in self.rest_text().split(b"\n") if line.startswith(b"-A "))
        return (rest, *shared, *sorted(lines), *self.forms.texts, *forms)

    def reached_texts(self) -> list[bytes]:
        """The chains of Services and endpoints that the rest leads to."""
        return [self.content[start:end] for name in sorted(self.reached(())) for start, end in self._spans_of(name)]

    def unreached(self, but: Collection[Key]) -> set[bytes]:
        """The chains of Services that packets come to with none but these keys, or not at all. Of a dump that was cut as a
        whole."""
        known = self.like.led if self.like is not None else None
        if known is not None and known[0] == but and self._leads_as_before():
            return self.chains.keys() - known[1]
        found = self.placed.named_but(but).union(LINK.findall(self.rest_text()))
        new = found
        while new:
            new = {link for name in self.leading.keys() & new for link in self.leading[name]} - found
            found |= new
        if self.is_first:
            self.led = (frozenset(but), found)
        return {name for name in self.chains if name not in found}

    def _leads_as_before(self) -> bool:
        """True if what differs from the other dump leads to the same chains of Services as there."""
        like, placed = self.like, self.placed
        if like is None or placed.like is None:
            return False
        return (
            all(placed.links(key) == placed.like.links(key) for key in placed.changed)
            and all(_links(self.text(name)) == _links(like.text(name)) for name in self.changed)
            and set(LINK.findall(self.rest_text())) == set(LINK.findall(like.rest_text()))
        )

    def reached(self, keys: Collection[Key]) -> set[bytes]:
        """The chains that packets with these keys may come to, and those that the rest leads to."""
        rest = self.rest_text()
        found: set[bytes] = set()
        new = [*LINK.findall(rest), *[name for key in keys for name in self.placed.links(key)]]
        behind = set(_ENDPOINT_NAME.findall(rest))
        text_of = self.text_of
        while new or behind:
            # In the order in which they are named: each is read but once.
            new = [name for name in dict.fromkeys(new) if name not in found]
            found.update(new)
            for name in new:
                behind.update(self.endpoint_names(name) if name in self.chains else ())
            added = {ENDPOINT_KIND + name for name in behind} - found
            found |= added
            texts = [text for text in map(text_of, new) if text is not None]
            new = [link for text in texts for link in text.links]
            if self.endpoints is None:
                # Whether the chains of endpoints lead on has not been looked at.
                spans = [span for name in added for span in self._spans_of(name)]
                new += LINK.findall(b"".join([self.content[start:end] for start, end in spans]))
            behind = set()
        return found

    def refusals_behind(self, keys: Collection[Key]) -> Collection[Key]:
        """The keys with rules in the filter table that packets with these keys may meet once they were sent to an endpoint."""
        spans = [span for name in self.reached(keys) for span in self._spans_of(name)]
        places = set(_SENT_TO.findall(b"".join(self.content[start:end] for start, end in spans)))
        if not all(_PLACE.fullmatch(place) for place in places):
            return self.refusing
        ports = {place.rpartition(b":")[2] for place in places}
        return {
            key
            for key in self.refusing
            if (
                key[2] in ports
                if not key[0]
                else not places.isdisjoint((b"%b:%b" % (key[0], key[2]), b"[%b]:%b" % (key[0], key[2])))
            )
        }

    def rest_text(self) -> bytes:
        """All lines that belong to no Service."""
        return b"".join(self.content[start:end] for start, end in self.rest)

    def excerpt(self, chains: Iterable[bytes], keys: Iterable[Key]) -> Iterator[tuple[int, str]]:
        """The rest with these chains (endpoints' too) and keys: 1-based line number and text, in order."""
        spans = list(self.rest)
        for name in set(chains):
            spans += self._spans_of(name)
        for key in set(keys):
            spans += [line.span for line in self.placed.at(key)]
        position, number = 0, 1
        for start, end in sorted(spans):
            if start > position:
                near = start - position < _NEAR_BYTES
                number = number + self.content.count(b"\n", position, start) if near else self.lines.at(start)
            for raw in self.content[start:end].decode("utf-8", errors="replace").split("\n")[:-1]:
                yield number, raw
                number += 1
            position = end

    def lines_with(self, name: bytes, asked: Iterable[bytes], but: bytes) -> list[Span | None]:
        """The first line of a chain that has these words, for each of those asked for, and not others; None if there is none."""
        start, end = self._rules_of(name) or (0, 0)
        return [self._line_with(words, but, start, end) for words in asked]

    def _line_with(self, words: bytes, but: bytes, start: int, end: int) -> Span | None:
        content = self.content
        while (place := content.find(words, start, end)) >= 0:
            line = content.rfind(b"\n", start, place) + 1 or start
            start = content.index(b"\n", place + len(words) - 1) + 1
            if content.find(but, line, start) < 0:
                return line, start
        return None

    def _spans_of(self, name: bytes) -> Iterator[Span]:
        kind = name[: name.rindex(b"-") + 1]
        region = self.declared.get(kind)
        if region is not None:
            found = self._line_at(region, b":" + name + b" ")
            if found is not None:
                yield found
        rules = self._rules_of(name)
        if rules is not None:
            yield rules

    def _rules_of(self, name: bytes) -> Span | None:
        if name in self.chains:
            return self.chains[name]
        if name in self._come:
            return self._come[name]
        if name.startswith(ENDPOINT_KIND) and self.endpoint_region is not None:
            beginning = b"-A " + name + b" "
            found = self._line_at(self.endpoint_region, beginning)
            if found is None and self.endpoints is None:
                # That they stand in order has not been looked at.
                start = self.content.find(b"\n" + beginning, self.endpoint_region[0] - 1, self.endpoint_region[1]) + 1
                found = (start, self.content.index(b"\n", start) + 1) if start else None
            if found is not None:
                return found[0], chain_at(self.content, found[0], self.endpoint_region[1])[1]
        return None

    def _line_at(self, region: Span, beginning: bytes) -> Span | None:
        """The first line of a sorted region that begins like this."""
        alike = self._alike.get(region)
        if alike is not None and self.like is not None:
            # Most are asked for on each node.
            known = self.like.known_line_at(alike.old, beginning)
            moved = alike.moved(known) if known is not None else None
            if moved is not None:
                return moved
        return self._found_line_at(region, beginning)

    def known_line_at(self, region: Span, beginning: bytes) -> Span | None:
        """The same, kept for dumps that are like this one."""
        if len(self._found) > _MOST_KNOWN:
            self._found.clear()
        if beginning not in self._found:
            self._found[beginning] = self._found_line_at(region, beginning)
        return self._found[beginning]

    def _found_line_at(self, region: Span, beginning: bytes) -> Span | None:
        low, high = region
        while low < high:
            half = (low + high) // 2
            line = self._halves.get(half)
            if line is None:
                start = self.content.rfind(b"\n", low, half) + 1 or low
                line = ((start, self.content.index(b"\n", start) + 1), beginning_at(self.content, start, region[1]))
                if high - low > _PART_BYTES:
                    # Every search begins with the same ones.
                    self._halves[half] = line
            span, found = line
            if found < beginning:
                low = span[1]
            else:
                high = span[0]
        if not self.content.startswith(beginning, low):
            return None
        return low, self.content.index(b"\n", low) + 1


def _links(text: ChainText | None) -> tuple[bytes, ...]:
    return text.links if text is not None else ()
