"""A large `nft -j list ruleset` cut into what kube-proxy writes for each Service, and the rest.

Nothing is read twice and nothing is dropped: every object of the list is a chain of one Service or endpoint, a rule of
such a chain, an endpoint's set of clients, a set or map that is taken apart into elements, or belongs to the rest. What does
not look as it ought to is the rest, which `kdiag.parse.nft_json` reads.

Holds for what nft itself prints: one line, in its own spacing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import msgspec
from msgspec.structs import replace

from kdiag.model.addresses import AddressSet, Family
from kdiag.parse.crossings import Crossings, crossings
from kdiag.parse.endpoint_forms import EndpointForms, Form
from kdiag.parse.iptables_forms import ChainText
from kdiag.parse.nft_elements import (
    HAIRPINS,
    TAKEN_APART,
    MapElement,
    OpenSet,
    addresses_of,
    dispatch_of,
    marked_by,
    open_set,
)
from kdiag.parse.nft_forms import LINK, NftChainForms, read_endpoint
from kdiag.parse.nft_rest import asked_as_ever, spelled
from kdiag.parse.service_words import Key

TABLE = "kube-proxy"
FAMILIES = {"ip": Family.IPV4, "ip6": Family.IPV6}
_OWN = re.compile(r"(?:service|local|external|endpoint)-[A-Z2-7]{8}-.")
_ENDPOINT, _AFFINITY = "endpoint-", "affinity-"
_NAMED = re.compile(rb'"@?(?:endpoint|affinity)-([A-Z2-7]{8}-[^"\\]+)"')


class _Chain(msgspec.Struct, gc=False):
    family: str
    table: str
    name: str
    hook: str | None = None


class _Rule(msgspec.Struct, gc=False):
    family: str
    table: str
    chain: str
    expr: msgspec.Raw


class _Set(msgspec.Struct, gc=False):
    family: str
    table: str
    name: str
    type: msgspec.Raw
    flags: str | list[str] = []
    elem: msgspec.Raw = msgspec.Raw(b"")
    timeout: int | None = None


class _Item(msgspec.Struct, gc=False):
    rule: _Rule | None = None
    chain: _Chain | None = None
    set: _Set | None = None
    map: _Set | None = None


class _Objects(msgspec.Struct):
    nftables: list[msgspec.Raw]


class _Items(msgspec.Struct):
    nftables: list[_Item]


_objects = msgspec.json.Decoder(_Objects)
_items = msgspec.json.Decoder(_Items)


class CutTable(msgspec.Struct):
    """Table kube-proxy of one family cut up.

    `chains` are those of Services, by name, with the places of their rules in the list of objects. `marked` holds, by
    protocol, the endpoints that are named one by one in a set. `addresses` are sets of addresses that are taken apart.
    """

    family: Family
    objects: list[msgspec.Raw]
    rest: tuple[bytes, ...]
    dispatch: Mapping[Key, tuple[MapElement, ...]]
    chains: Mapping[bytes, tuple[int, ...]]
    endpoints: EndpointForms
    marked: Mapping[bytes, frozenset[bytes]]
    addresses: tuple[AddressSet, ...]
    forms: NftChainForms
    texts_read: Mapping[bytes, ChainText]
    endpoint_objects: Mapping[bytes, tuple[int, ...]]
    sets: tuple[OpenSet, ...]
    taken: frozenset[int]

    @property
    def crossings(self) -> Crossings:
        """Where packets to one Service may meet an element for another. Those that were sent to an endpoint may meet any: base
        chains may ask where they like, and there an address alone may decide, whatever the port."""
        return crossings(self.dispatch, self.dispatch.keys(), self.endpoints, by_address=bool(self.addresses))

    def text(self, name: bytes) -> ChainText | None:
        """A chain of a Service taken apart; None if there is none of this name."""
        return self.texts_read.get(name)

    @property
    def text_of(self) -> Callable[[bytes], ChainText | None]:
        """What `text` is."""
        return self.texts_read.get

    def texts(self) -> tuple[bytes, ...]:
        """All rules that packets may meet, with what is a Service's own taken out."""
        shared = [bytes(self.objects[index]) for name in self.reached(()) for index in self.objects_of(name)]
        lines = {element.text for found in self.dispatch.values() for element in found}
        forms = [form for form, _ in self.endpoints.found]
        return (*self.rest, *[spelled(text) for text in (*shared, *sorted(lines), *self.forms.texts, *forms)])

    def unreached(self, but: Collection[Key]) -> set[bytes]:
        """The chains of Services that packets come to with none but these keys, or not at all."""
        return self.chains.keys() - self._reached(self.dispatch.keys() - but, endpoints=False)

    def reached(self, keys: Iterable[Key]) -> set[bytes]:
        """The chains that packets with these keys may come to, and those that the rest leads to. Endpoints go by their
        names, without what a chain's begins with."""
        return self._reached(keys, endpoints=True)

    def _reached(self, keys: Iterable[Key], *, endpoints: bool) -> set[bytes]:
        rest = b"\n".join(self.rest)
        queue = LINK.findall(rest)
        found = set(_NAMED.findall(rest)) if endpoints else set()
        queue += [name for key in keys for element in self.dispatch.get(key, ()) for name in element.links]
        while queue:
            name = queue.pop()
            if name in found:
                continue
            found.add(name)
            text = self.texts_read.get(name)
            if text is not None:
                queue += text.links
                if endpoints:
                    found.update([item for item in text.endpoints if item in self.endpoint_objects])
        return found

    def objects_of(self, name: bytes) -> Iterator[int]:
        """Where the objects of a chain, or of an endpoint, stand in the list."""
        yield from self.chains.get(name, ())
        yield from self.endpoint_objects.get(name, ())


class NftCut(msgspec.Struct):
    """A whole dump cut up: its objects, and the tables of kube-proxy. `line` is the one that all of it stands on."""

    content: bytes
    objects: list[msgspec.Raw]
    line: int
    tables: Mapping[Family, CutTable]

    def excerpt(
        self, chosen: Mapping[Family, tuple[Collection[bytes], Collection[Key], Collection[Key]]]
    ) -> Iterator[bytes | msgspec.Raw]:
        """The objects of an excerpt, in order.

        For each family the chains (endpoints' too) and the keys that it has, and the keys that it has not; of a family
        that is not among them it has everything.
        """
        left_out: set[int] = set()
        changed: dict[int, bytes] = {}
        for family, (chains, keys, without) in chosen.items():
            table = self.tables[family]
            left_out |= table.taken.difference(index for name in chains for index in table.objects_of(name))
            addresses = {key[0] for key in without} - {key[0] for key in keys}
            absent = {*without, *((address, b"", b"") for address in addresses)}
            for item in table.sets:
                if item.name == HAIRPINS:
                    continue
                kept = [raw for key, raw in item.elements if key not in absent]
                changed[item.index] = item.with_elements(self.objects[item.index], kept)
        for index, raw in enumerate(self.objects):
            if index not in left_out:
                yield changed.get(index, raw)

    def sample(self) -> Iterator[bytes | msgspec.Raw]:
        """An excerpt with the rest and one chain of each table: it shows what the proxy runs as, but not for whom."""
        return self.excerpt(
            {
                family: ([*table.chains, *table.endpoint_objects][:1], (), table.dispatch.keys())
                for family, table in self.tables.items()
            }
        )


def cut_nft(content: bytes) -> NftCut | None:
    """Cut up what `nft -j list ruleset` printed; None if it is not of the form that can be."""
    start = len(content) - len(content.lstrip())
    data = content.strip()
    if not data.isascii() or b"\n" in data:
        return None
    try:
        objects = _objects.decode(data).nftables
        items = _items.decode(data).nftables
    except (msgspec.DecodeError, RecursionError):
        return None
    tables: dict[str, _OpenTable] = {name: _OpenTable(family) for name, family in FAMILIES.items()}
    common: list[int] = []
    for index, item in enumerate(items):
        what = item.rule or item.chain or item.set or item.map
        table = tables.get(what.family) if what is not None else None
        if what is None or table is None:
            common.append(index)
        elif what.table != TABLE:
            table.rest.append(index)
        else:
            table.add(index, item)
    made = {}
    for table in tables.values():
        cut = table.finish(objects, items, common)
        if cut is not None:
            made[table.family] = cut
    if not made:
        return None
    return NftCut(content=content, objects=objects, line=1 + content.count(b"\n", 0, start), tables=made)


class _OpenTable:
    """Table kube-proxy of one family, and what else there is of the family."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.rest: list[int] = []
        self.rules: defaultdict[str, list[int]] = defaultdict(list)
        self.declared: dict[str, list[int]] = {}
        self.affinity: dict[str, list[int]] = {}
        self.sets: dict[str, list[int]] = {}

    def add(self, index: int, item: _Item) -> None:
        """Note one object of the table."""
        if item.rule is not None:
            if _OWN.match(item.rule.chain):
                self.rules[item.rule.chain].append(index)
                return
        elif item.chain is not None:
            if _OWN.match(item.chain.name):
                self.declared.setdefault(item.chain.name, []).append(index)
                return
        elif item.set is not None and item.set.name.startswith(_AFFINITY):
            self.affinity.setdefault(item.set.name, []).append(index)
            return
        else:
            named = item.set or item.map
            if named is not None and named.name in TAKEN_APART:
                self.sets.setdefault(named.name, []).append(index)
                return
        self.rest.append(index)

    def finish(self, objects: list[msgspec.Raw], items: list[_Item], common: list[int]) -> CutTable | None:
        """The table cut up; None if it cannot be."""
        family = self.family
        forms = NftChainForms(family)
        chains: dict[bytes, tuple[int, ...]] = {}
        texts: dict[bytes, ChainText] = {}
        forms_of_endpoints: dict[Form, dict[bytes, bytes]] = {}
        endpoint_objects: dict[bytes, tuple[int, ...]] = {}
        for name in self.declared.keys() - self.rules.keys():
            self.rest += self.declared[name]
        for name, places in self.rules.items():
            declared = self.declared.get(name, ())
            rules = [bytes(item.expr) for index in places if (item := items[index].rule) is not None]
            plain = len(declared) == 1 and not any((chain := items[at].chain) and chain.hook for at in declared)
            if plain and name.startswith(_ENDPOINT):
                own = name.removeprefix(_ENDPOINT)
                found = read_endpoint(own.encode(), rules)
                clients = self.affinity.get(_AFFINITY + own, [])
                told = _clients_told(items, clients, remembered=found is not None and found.remembers)
                if found is not None and told is not None:
                    form = found.form + b"\n" + told
                    forms_of_endpoints.setdefault((form, found.protocol), {})[own.encode()] = found.place
                    endpoint_objects[own.encode()] = (*declared, *places, *clients)
                    self.affinity.pop(_AFFINITY + own, None)
                    continue
            elif plain:
                key = name.encode()
                kind, _, _ = key.partition(b"-")
                read = forms.read(kind, rules)
                if read is not None:
                    chains[key] = (*declared, *places)
                    texts[key] = read.text
                    if read.protocol is not None:
                        named = read.text.endpoints
                        forms_of_endpoints.setdefault((b"", read.protocol), {}).update(zip(named, named, strict=True))
                    continue
            self.rest += [*declared, *places]
        self.rest += [index for places in self.affinity.values() for index in places]
        sets = self._opened(items)
        endpoints = EndpointForms(forms_of_endpoints)
        for key, text in texts.items():
            if text.sent is None:
                texts[key] = replace(text, sent=endpoints.sent_to(text.endpoints))
        rest_objects = [bytes(objects[index]) for index in sorted({*self.rest, *common})]
        rest_objects += [
            item.with_elements(objects[item.index], [raw for key, raw in item.elements if key is None]) for item in sets
        ]
        rest = tuple(spelled(text) for text in rest_objects)
        cut = CutTable(
            family=family,
            objects=objects,
            rest=rest,
            dispatch=dispatch_of(sets),
            chains=chains,
            endpoints=endpoints,
            marked=marked_by(sets, family),
            addresses=addresses_of(sets, family),
            forms=forms,
            texts_read=texts,
            endpoint_objects=endpoint_objects,
            sets=tuple(sets),
            taken=frozenset(
                index for found in (chains, endpoint_objects) for places in found.values() for index in places
            ),
        )
        asked = b"\n".join([*rest, *forms.texts, *(form for form, _ in endpoints.found)])
        return cut if asked_as_ever(asked) else None

    def _opened(self, items: list[_Item]) -> list[OpenSet]:
        """The sets and maps that are taken apart."""
        found: list[OpenSet] = []
        for name, places in self.sets.items():
            index = places[0]
            kind, body = ("map", items[index].map) if items[index].map is not None else ("set", items[index].set)
            opened = None
            if len(places) == 1 and body is not None:
                opened = open_set(index, kind, name, body.type, body.elem)
            if opened is None:
                self.rest += places
            else:
                found.append(opened)
        return found


def _clients_told(items: list[_Item], places: list[int], *, remembered: bool) -> bytes | None:
    """What the set of an endpoint's clients is like; None if it is not as such sets are.

    Whom it holds is of no interest where rules write into it: a client not seen before is not among them.
    """
    if not places:
        return b"no set"
    body = items[places[0]].set
    if len(places) > 1 or body is None or bytes(body.type) not in (b'"ipv4_addr"', b'"ipv6_addr"'):
        return None
    if not remembered and bytes(body.elem):
        return None
    flags = body.flags if isinstance(body.flags, str) else " ".join(body.flags)
    return f"{bytes(body.type).decode()} {flags} {body.timeout}s".encode()
