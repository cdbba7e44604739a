"""The lines of all dispatch chains of a dump, by the address that each is for.

Nodes of one cluster have nearly the same lines, but in another order each: kube-proxy writes them in none. What another
dump has, too, is taken over from there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from itertools import accumulate, count, pairwise
from operator import add

from msgspec import Struct, field
from msgspec.structs import replace

from kdiag.parse.chain_merge import Span
from kdiag.parse.dispatch_lines import DISPATCH, DispatchLine, LineForm, read_line, read_lines
from kdiag.parse.service_words import Key

ChainName = tuple[bytes, bytes]
"""A table, and a chain in it."""


class Places(Struct, frozen=True):
    """Where the lines of one dispatch chain begin, and those behind all others that are for no address."""

    starts: dict[bytes, int]
    last: frozenset[bytes]


class Dispatch(Struct):
    """The lines of the dispatch chains that stand in some regions of a dump.

    `lines` has those for each key, in order of the regions. Those of keys that are not `changed` may be taken from a dump
    that was read before: then `at` tells where they stand in this one. `taken` is where all of them stand.
    """

    content: bytes
    regions: Mapping[ChainName, Span]
    lines: dict[Key, tuple[DispatchLine, ...]] = field(default_factory=dict)
    taken: list[Span] = field(default_factory=list)
    orderly: bool = True
    """False if a line for no address stands in front of others in its chain."""
    like: Dispatch | None = None
    changed: frozenset[Key] = frozenset()
    _places: dict[ChainName, Places | None] = field(default_factory=dict)
    _doubled: list[Key] | None = None
    _by_form: dict[object, list[Key]] = field(default_factory=dict)
    _of_form: dict[LineForm, list[Key]] = field(default_factory=dict)
    """The keys of all lines that were read, by the form of each; `_several` are those with more than one line."""
    _several: set[Key] = field(default_factory=set)
    _named: list[bytes] = field(default_factory=list)
    _times: Counter[bytes] = field(default_factory=Counter)
    """What these lines name, and how many of them each; it is counted where somebody asks."""

    def at(self, key: Key) -> tuple[DispatchLine, ...]:
        """The lines for a key, with the places at which they stand in this dump."""
        lines = self.lines.get(key, ())
        if self.like is None or key in self.changed:
            return lines
        return tuple([line for line in map(self._moved, lines) if line is not None])

    def _moved(self, line: DispatchLine) -> DispatchLine | None:
        """A line of the other dump where it stands here; None if it does not."""
        places, (start, end) = self._places.get(line.place), line.span
        if self.like is None or places is None:
            return None
        place = places.starts.get(self.like.content[start : end - 1])
        return replace(line, span=(place, place + end - start)) if place is not None else None

    def by_form(self) -> Mapping[object, list[Key]]:
        """The keys whose lines are not taken over from another dump, by the form of these lines."""
        if self._by_form:
            return self._by_form
        if self.like is None:
            for form, keys in self._of_form.items():
                self._by_form[form,] = [key for key in keys if key not in self._several]
            left = [key for key in self.lines if key in self._several]
        else:
            left = sorted(self.changed & self.lines.keys())
        for key in left:
            self._by_form.setdefault(tuple([line.form for line in self.lines[key]]), []).append(key)
        return self._by_form

    def read_in(self, table: bytes) -> set[Key]:
        """The keys with lines in a table that are not taken over from another dump."""
        if self.like is None:
            return {key for form, keys in self._of_form.items() if form.table == table for key in keys}
        return {key for key in self.changed for line in self.lines.get(key, ()) if line.table == table}

    def named_but(self, keys: Collection[Key]) -> set[bytes]:
        """The Services' chains that are named in lines for other keys than these."""
        if self.like is None and not keys:
            return {*self._named, *self._times}
        times = Counter(self.named if self.like is None else self.like.named)
        come = [] if self.like is None else [name for key in self.changed for name in self.links(key)]
        gone = [name for key in keys for name in self.links(key)]
        if self.like is not None:
            gone += [name for key in self.changed for name in self.like.links(key)]
        times.update(come)
        times.subtract(gone)
        return set(times).difference([name for name in gone if times[name] <= 0])

    @property
    def named(self) -> Counter[bytes]:
        """How many lines that were read name each of the Services' chains."""
        if self._named:
            self._times.update(self._named)
            self._named.clear()
        return self._times

    def links(self, key: Key) -> tuple[bytes, ...]:
        """The Services' chains that are named in the lines for a key."""
        return tuple([name for line in self.lines.get(key, ()) for name in line.links])

    def around_changes(self) -> Mapping[Key, tuple[DispatchLine, ...]]:
        """The lines for the keys that changed, and for all NodePorts or addresses with the same port and protocol."""
        if self.like is None or any(not key[0] for key in self.changed):
            return self.lines
        keys = {both for key in self.changed for both in (key, (b"", *key[1:]))}
        return {key: self.lines[key] for key in keys & self.lines.keys()}

    def keeps_order(self, key: Key) -> bool:
        """True if the lines for a key that are taken from the other dump follow each other here as they do there."""
        lines = self.at(key)
        return all(one.span < other.span or one.place != other.place for one, other in pairwise(lines))

    def places(self, name: ChainName, known: Places | None = None) -> Places | None:
        """The lines of a chain; None if one stands there twice. Those `known` from elsewhere need not be read."""
        if name not in self._places:
            start, end = self.regions.get(name, (0, 0))
            lines = self.content[start:end].split(b"\n")[:-1]
            last: list[bytes] = []
            while lines and _is_last(lines[-1], DISPATCH[name], known):
                last.append(lines.pop())
            starts = dict(zip(lines, map(add, accumulate(map(len, lines), initial=start), count()), strict=False))
            self._places[name] = Places(starts, frozenset(last)) if len(starts) == len(lines) else None
        return self._places[name]

    def doubled(self) -> list[Key]:
        """The keys with several lines in one chain: the order of these means something."""
        if self._doubled is None:
            self._doubled = [
                key
                for key, lines in self.lines.items()
                if len(lines) > 1 and len({line.place for line in lines}) < len(lines)
            ]
        return self._doubled


def read_dispatch(content: bytes, regions: Mapping[ChainName, Span], like: Dispatch | None = None) -> Dispatch:
    """Read the lines of dispatch chains. Other lines in these regions are left to the rest."""
    if like is not None and like.orderly:
        found = _read_after(content, regions, like)
        if found is not None:
            return found
    found = Dispatch(content, regions)
    lines: dict[Key, tuple[DispatchLine, ...]] = found.lines
    for name, region in regions.items():
        start, stop = region
        behind, first = 0, start
        forms: dict[bytes, tuple[LineForm, list[Key]]] = {}
        for end, read in read_lines(content, region, without_address=DISPATCH[name]):
            if read is None:
                behind += 1
                forms.clear()
                found.taken.append((first, start))
                first = end
            else:
                key, text, links = read
                known = forms.get(text)
                if known is None:
                    form = LineForm(*name, behind, text)
                    known = forms[text] = form, found._of_form.setdefault(form, [])
                    found.orderly = found.orderly and not behind
                form, mine = known
                mine.append(key)
                found._named += links
                line = DispatchLine((start, end), form, links)
                if key in lines:
                    lines[key] = (*lines[key], line)
                    found._several.add(key)
                else:
                    lines[key] = (line,)
            start = end
        found.taken.append((first, stop))
    return found


def _read_after(content: bytes, regions: Mapping[ChainName, Span], like: Dispatch) -> Dispatch | None:
    """The same, but lines of `like` are not read again. None if the order of lines or regions is not as usual."""
    if [name for name in regions if name in like.regions] != [name for name in like.regions if name in regions]:
        return None
    found = Dispatch(content, regions, dict(like.lines), like=like)
    come: dict[Key, list[DispatchLine]] = {}
    gone: list[Key] = []
    for name in dict.fromkeys([*regions, *like.regions]):
        known = like.places(name)
        places = found.places(name, known)
        if known is None or places is None:
            return None
        for raw in places.starts.keys() - known.starts.keys():
            read = read_line(raw, DISPATCH[name])
            if read is None:
                return None
            key, text, links = read
            start = places.starts[raw]
            line = DispatchLine((start, start + len(raw) + 1), LineForm(*name, 0, text), links)
            come.setdefault(key, []).append(line)
        reads = [read_line(raw, DISPATCH[name]) for raw in known.starts.keys() - places.starts.keys()]
        gone += [read[0] for read in reads if read is not None]
        if places.starts:
            raw, start = next(reversed(places.starts.items()))
            found.taken.append((regions[name][0], start + len(raw) + 1))
    changed = {*come, *gone, *(key for key in like.doubled() if not found.keeps_order(key))}
    order = {name: position for position, name in enumerate(regions)}
    for key in sorted(changed):
        mine = [*found.at(key), *come.get(key, ())]
        found.lines[key] = tuple(sorted(mine, key=lambda line: (order[line.place], line.span)))
        if not mine:
            del found.lines[key]
    found.changed = frozenset(changed)
    return found


def _is_last(raw: bytes, without_address: bool, known: Places | None) -> bool:
    """True if a line is for no address."""
    if known is not None and (raw in known.last or raw in known.starts):
        return raw in known.last
    return read_line(raw, without_address) is None
