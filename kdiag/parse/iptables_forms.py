"""What the chains of a Service look like once everything that is its own is taken out: names, addresses and ports.

Two chains of the same form do the same to packets, but for these. In a form stand for what was taken out:

    \\0  the chain's own name          \\1  the name of an endpoint's chain
    \\2  address, protocol and port    \\3  the name of another chain of the Service
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from msgspec import Struct, field

from kdiag.parse.chain_merge import chain_at

COMMENT = re.compile(rb' -m comment --comment (?:"(?:[^"\\\n]|\\.)*+"|[^"\s]\S*+)')
_KEY = re.compile(rb"-d ([0-9a-f.:]+)/(?:32|128) -p (tcp|udp|sctp) -m \2 --dport (\d+)")
LINK = re.compile(rb"KUBE-(?:EXT|FW|SVC|SVL|XLB)-[A-Z2-7]{16}")
_ODD_NAME = re.compile(rb"\x01[^ \n]|KUBE-(?:EXT|FW|SVC|SVL|XLB|SEP)-")
_HASH = 16
_SHARED = re.compile(rb"(.*)-m statistic --mode random --probability ([0-9]+(?:\.[0-9]+)?) -j \x01")
_SHARE_TOLERANCE = 1e-4
"""As in kdiag.compare.outcomes: probabilities are rounded to 31 bits by the kernel."""


class ChainForm(Struct, frozen=True):
    """What one chain does, however many endpoints it has.

    `items` are its rules in order; rules that share packets evenly among endpoints are one item. `runs` are the places
    in the chain's list of endpoints that belong to each such item. Unless `regular`, an endpoint stands where none is
    expected, or not all get the same share.
    """

    number: int
    """The same for all forms with the same items."""
    items: tuple[tuple[str, bytes, bool], ...]
    runs: tuple[tuple[int, ...], ...]
    regular: bool


class ChainText(Struct, frozen=True):
    """One chain: its form, and what was taken out."""

    form: ChainForm
    endpoints: tuple[bytes, ...]
    """Hashes in the names of the endpoints' chains."""
    links: tuple[bytes, ...]
    keys: tuple[tuple[bytes, bytes, bytes], ...]
    kind: bytes
    """What the name begins with: `KUBE-SVC-`."""


class ChainForms:
    """Forms of chains, each worked out once. Those of `like` are known from the start."""

    def __init__(self, like: ChainForms | None = None) -> None:
        self._known: dict[bytes, ChainForm] = dict(like._known) if like is not None else {}
        self._numbers: dict[object, int] = dict(like._numbers) if like is not None else {}

    @property
    def texts(self) -> tuple[bytes, ...]:
        """Everything that stands in the forms seen so far."""
        return tuple(self._known)

    @property
    def whole(self) -> bool:
        """False if a chain leads to one whose name is none that kube-proxy gives."""
        return not any(_ODD_NAME.search(text) for text in self._known)

    def read(self, name: bytes, block: bytes) -> ChainText:
        """Take the lines of one chain apart."""
        if b" --comment " in block:
            # In a large cluster only the first rule has one.
            first = block.index(b"\n")
            others = block[first:]
            block = COMMENT.sub(b"", block[:first]) + (COMMENT.sub(b"", others) if b" --comment " in others else others)
        head, *parts = block.replace(b"-A " + name + b" ", b"-A \0 ").split(b"KUBE-SEP-")
        links: list[bytes] = []
        keys = _KEY.findall(head)
        if keys:
            head = _KEY.sub(b"\2", head)
        form = b"\1".join([head, *[part[_HASH:] for part in parts]])
        known = self._known.get(form)
        if known is None:
            links = LINK.findall(form)
            form = LINK.sub(b"\3", form)
            known = self._known.get(form)
        if known is None:
            items, runs, regular = _chain_form(form)
            number = self._numbers.setdefault(items, len(self._numbers))
            known = self._known[form] = ChainForm(number, items, runs, regular)
        kind = name[:-_HASH]
        return ChainText(known, tuple([part[:_HASH] for part in parts]), tuple(links), tuple(keys), kind)


def _chain_form(text: bytes) -> tuple[tuple[tuple[str, bytes, bool], ...], tuple[tuple[int, ...], ...], bool]:
    """Items, runs, and whether the form is regular (see ChainForm)."""
    items: list[tuple[str, bytes, bool]] = []
    runs: list[tuple[int, ...]] = []
    regular = True
    lines = [line.removeprefix(b"-A \0 ") for line in text.split(b"\n")[:-1]]
    position, seen = 0, 0
    while position < len(lines):
        line = lines[position]
        count = line.count(b"\1")
        shared = _SHARED.fullmatch(line)
        if shared is not None and count == 1:
            base = shared[1]
            shares, left = [], 1.0
            while shared is not None and shared[1] == base:
                shares.append(left * float(shared[2]))
                left *= 1 - float(shared[2])
                position += 1
                shared = _SHARED.fullmatch(lines[position]) if position < len(lines) else None
            last = position < len(lines) and lines[position] == base + b"-j \1"
            even = all(abs(share - 1 / (len(shares) + 1)) <= _SHARE_TOLERANCE for share in (*shares, left))
            regular = regular and last and even
            total = len(shares) + last
            position += last
            items.append(("even", base, True))
            runs.append(tuple(range(seen, seen + total)))
            seen += total
            continue
        if count == 2 and b" --rcheck " in line:
            # The list that is asked and the chain that is entered go by one name.
            places: list[int] = []
            while position < len(lines) and lines[position] == line:
                places.append(seen)
                seen += 2
                position += 1
            runs += [tuple(places), tuple(place + 1 for place in places)]
            items.append(("remembered", line, len(places) > 1))
            continue
        if count == 1 and line.endswith(b"-j \1"):
            items.append(("even", line.removesuffix(b"-j \1"), False))
            runs.append((seen,))
        elif count:
            regular = False
        else:
            items.append(("rule", line, False))
        seen += count
        position += 1
    return tuple(items), tuple(runs), regular


class EndpointForms(Struct):
    """The chains of endpoints.

    `found` holds, for each form and protocol, where each chain, by the hash in its name, sends packets to
    (`10.244.1.5:8080`, `[fd00::5]:8080`). `odd` are the names of chains that have no form: those are read as rules.
    """

    found: dict[tuple[bytes, bytes], dict[bytes, bytes]] = field(default_factory=dict)
    odd: tuple[bytes, ...] = ()

    def names(self) -> Iterator[bytes]:
        """The hashes in the names of all chains."""
        for places in self.found.values():
            yield from places
        for name in self.odd:
            yield name[-_HASH:]

    def changed(self, gone: Iterable[bytes], come: EndpointForms) -> EndpointForms:
        """The same without some chains, by the hash in their names, and with others."""
        names = set(gone)
        found = {key: dict(places) for key, places in self.found.items()}
        for places in found.values():
            for name in names & places.keys():
                del places[name]
        for key, places in come.found.items():
            found.setdefault(key, {}).update(places)
        odd = [name for name in self.odd if name[-_HASH:] not in names]
        return EndpointForms({key: places for key, places in found.items() if places}, (*odd, *come.odd))


# One rule masquerades what the endpoint sends to itself, the other translates. What else stands in them makes the form.
_ENDPOINT = re.compile(
    rb"-A KUBE-SEP-([A-Z2-7]{16}) -s ([0-9a-f.:]+)/(?:32|128)([^\n]*?) -j KUBE-MARK-MASQ\n"
    rb"-A KUBE-SEP-\1 -p (tcp|udp|sctp)([^\n]*?) -m \4 -j DNAT --to-destination ((?:\2|\[\2\]):\d+)\n"
)
# The same without anything else (name, address, protocol, place), as most are in a large cluster; or the lines of any
# other chain (behind what all begin with), and its name.
_ENDPOINT_BLOCK = re.compile(
    rb"(?m:^)-A KUBE-SEP-(?:"
    rb"([A-Z2-7]{16}) -s ([0-9a-f.:]+)/(?:32|128) -j KUBE-MARK-MASQ\n"
    rb"-A KUBE-SEP-\1 -p (tcp|udp|sctp) -m \3 -j DNAT --to-destination ((?:\2|\[\2\]):\d+)\n(?!-A KUBE-SEP-\1 )"
    rb"|(([A-Z2-7]{16}) [^\n]*+\n(?:-A KUBE-SEP-\6 [^\n]*+\n)*+))"
)
_PIECE_BYTES = 4_000_000
"""How much is read at once: what stands between is made into many small objects."""


def endpoint_forms(content: bytes, region: tuple[int, int] | None) -> EndpointForms | None:
    """Read the chains of endpoints, which stand together in a region; None if they are not in order or lead on to others."""
    result = EndpointForms()
    if region is None:
        return result
    last = b""
    odd: list[bytes] = []
    for start, end in _pieces(content, region):
        chains = _ENDPOINT_BLOCK.findall(content, start, end)
        names = [plain or other for plain, _, _, _, _, other in chains]
        others = [b"-A KUBE-SEP-" + chain[4] for chain in chains if chain[4]]
        lines = 2 * (len(chains) - len(others)) + sum(block.count(b"\n") for block in others)
        if lines != content.count(b"\n", start, end) or _unordered([last, *names]):
            return None
        last = names[-1]
        for protocol in {chain[2] for chain in chains if chain[2]}:
            known = result.found.setdefault((b"", protocol), {})
            known.update([(name, place) for name, _, spoken, place, _, _ in chains if spoken == protocol])
        for block in others:
            found = _ENDPOINT.fullmatch(block)
            if found is None and LINK.search(block):
                return None
            if found is None:
                # A chain may have the usual rules and others beside them.
                odd.append(block[len(b"-A ") : block.index(b" ", 3)])
                continue
            name, _, one, protocol, two, place = found.groups()
            form = COMMENT.sub(b"", one) + b"\n" + COMMENT.sub(b"", two)
            form = b"" if form == b"\n" else form.replace(b"KUBE-SEP-" + name, b"\0")
            result.found.setdefault((form, protocol), {})[name] = place
    result.odd = tuple(odd)
    return result


def _unordered(names: list[bytes]) -> bool:
    return any(map(bytes.__ge__, names, names[1:]))


def _pieces(content: bytes, region: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """The region in pieces that end with a chain."""
    start, stop = region
    while start < stop:
        end = min(start + _PIECE_BYTES, stop)
        if end < stop:
            _, end = chain_at(content, content.rindex(b"\n", start, end) + 1, stop)
        yield start, end
        start = end
