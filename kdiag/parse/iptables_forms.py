"""What the chains of a Service look like once everything that is its own is taken out: names, addresses and ports.

Two chains of the same form do the same to packets, but for these. In a form stand for what was taken out:

    \\0  the chain's own name          \\1  the name of an endpoint's chain
    \\2  address, protocol and port    \\3  the name of another chain of the Service
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable

from msgspec import Struct

from kdiag.parse.endpoint_forms import EndpointForms
from kdiag.parse.service_words import COMMENT, ENDPOINT_KIND, HASH_LENGTH, LINK, Key, Sent

_KEY = re.compile(rb"-d ([0-9a-f.:]+)/(?:32|128) -p (tcp|udp|sctp) -m \2 --dport (\d+)")
CHAIN = re.compile(
    rb"-A (KUBE-[A-Z]++-[A-Z2-7]{16}) (?:((?:! -[si] \S++ )?+)-d ([0-9a-f.:]++)/(?:32|128) -p (tcp|udp|sctp)"
    rb'(?: -m comment --comment "[^"\\\n]*+")?+ -m \4 --dport (\d++)( -j [A-Z-]++)\n|[^\n]*+\n)'
    rb"((?:-A \1 [^\n]*+\n)*+)"
)
"""The lines of one chain: its name; of its first rule, if that is the usual one, what is in front of the key, the key, and where
to; and the other rules."""
_ODD_NAME = re.compile(rb"\x01[^ \n]|KUBE-(?:EXT|FW|SVC|SVL|XLB|SEP)-")
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

    def listed(self, names: tuple[bytes, ...]) -> tuple[bytes, ...] | None:
        """Of the names of all endpoints in the chain those of one item; None if its items do not agree on them."""
        if len(self.runs) <= 1:
            return names
        lists = {tuple([names[place] for place in run]) for run in self.runs}
        return lists.pop() if len(lists) == 1 else None


class ChainText(Struct, frozen=True):
    """One chain: its form, and what was taken out."""

    form: ChainForm
    endpoints: tuple[bytes, ...]
    """Hashes in the names of the endpoints' chains; none where they are not kept."""
    links: tuple[bytes, ...]
    keys: tuple[Key, ...]
    kind: bytes
    """What the name begins with: `KUBE-SVC-`."""
    sent: Sent | None
    """What the endpoints' chains do; None if these are not alike, not all there, or not all in each run."""


class _Usual(Struct, frozen=True):
    """How the rules of a chain stand behind its first one if each ends with an endpoint, as in most chains: `layout` has
    turn by turn what is in `others` and the hash in a name, without the beginnings of lines."""

    layout: struct.Struct
    others: tuple[bytes, ...]
    form: ChainForm
    kind: bytes


class ChainForms:
    """Forms of chains, each worked out once. Those of `like` are known from the start."""

    def __init__(self, like: ChainForms | None = None) -> None:
        self._known: dict[bytes, ChainForm] = dict(like._known) if like is not None else {}
        self._usual: dict[tuple[bytes, int, bytes, bytes], _Usual] = dict(like._usual) if like is not None else {}
        self._numbers: dict[object, int] = dict(like._numbers) if like is not None else {}

    @property
    def texts(self) -> tuple[bytes, ...]:
        """Everything that stands in the forms seen so far."""
        return tuple(self._known)

    @property
    def whole(self) -> bool:
        """False if a chain leads to one whose name is none that kube-proxy gives."""
        return not any(_ODD_NAME.search(text) for text in self._known)

    def read(
        self, name: bytes, block: bytes, endpoints: EndpointForms | None = None, *, keep_names: bool = True
    ) -> ChainText:
        """Take the lines of one chain apart. All of them begin with `-A NAME `.

        `endpoints` are the chains of endpoints in the same dump, if they were read.
        """
        found = CHAIN.match(block)
        if found is not None and endpoints is not None:
            return self.read_found(found, endpoints, keep_names=keep_names)
        return self._read_any(name, block, endpoints, keep_names=keep_names)

    def read_found(self, found: re.Match[bytes], endpoints: EndpointForms, *, keep_names: bool) -> ChainText:
        """The same of what CHAIN found."""
        name, before, address, protocol, port, after, others = found.groups()
        if before is None:
            return self._read_any(name, found[0], endpoints, keep_names=keep_names)
        kind = name[:-HASH_LENGTH]
        size = (kind, len(others), before, after)
        usual = self._usual.get(size)
        if usual is not None:
            parts = usual.layout.unpack(others)
            names = parts[1::2]
            same = parts[::2] == usual.others and others.count(b"\n") == len(names)
            sent = endpoints.sent_to(names) if same else None
            # There are chains of all these names, so they are names.
            if sent is not None:
                keys = ((address, protocol, port),)
                return ChainText(usual.form, names if keep_names else (), (), keys, usual.kind, sent)
        text = self._read_any(name, found[0], endpoints, keep_names=keep_names)
        if text.form.regular and len(text.form.runs) == 1:
            start = len(b"-A ") + len(name) + 1
            lines = tuple([line[start:-HASH_LENGTH] for line in others[:-1].split(b"\n")])
            if _is_usual(before + after, lines):
                layout = [f"{start}x{len(line)}s{HASH_LENGTH}sx" for line in lines]
                self._usual[size] = _Usual(struct.Struct("".join(layout)), lines, text.form, kind)
        return text

    def _read_any(self, name: bytes, block: bytes, endpoints: EndpointForms | None, *, keep_names: bool) -> ChainText:
        form, names, links, keys = self._taken_apart(name, block)
        listed = form.listed(names)
        sent = endpoints.sent_to(listed) if endpoints is not None and listed is not None else None
        kept = names if keep_names else ()
        return ChainText(form, kept, tuple(links), tuple(keys), name[:-HASH_LENGTH], sent)

    def _taken_apart(self, name: bytes, block: bytes) -> tuple[ChainForm, tuple[bytes, ...], list[bytes], list[Key]]:
        """The form of any chain, the hashes in the names of endpoints' chains, the names of others, and the keys."""
        if b" --comment " in block:
            block = COMMENT.sub(b"", block)
        head, *parts = block.replace(b"-A " + name + b" ", b"-A \0 ").split(ENDPOINT_KIND)
        links: list[bytes] = []
        keys = _KEY.findall(head)
        if keys:
            head = _KEY.sub(b"\2", head)
        text = b"\1".join([head, *[part[HASH_LENGTH:] for part in parts]])
        known = self._known.get(text)
        if known is None:
            links = LINK.findall(text)
            text = LINK.sub(b"\3", text)
            known = self._known.get(text)
        if known is None:
            items, runs, regular = _chain_form(text)
            number = self._numbers.setdefault(items, len(self._numbers))
            known = self._known[text] = ChainForm(number, items, runs, regular)
        return known, tuple([part[:HASH_LENGTH] for part in parts]), links, keys


def _is_usual(head: bytes, others: Iterable[bytes]) -> bool:
    """True if nothing of a Service's own is in a rule, nor in others that each end where the hash of an endpoint begins."""
    return not (LINK.search(head) or ENDPOINT_KIND in head) and all(
        line.startswith((b"-m ", b"-j "))
        and line.endswith(b"-j " + ENDPOINT_KIND)
        and line.count(b"KUBE-") == 1
        and b" --comment " not in line
        and not _KEY.search(line)
        for line in others
    )


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
