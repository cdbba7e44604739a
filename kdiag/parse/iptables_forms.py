"""What the chains of a Service look like once everything that is its own is taken out: names, addresses and ports.

Two chains of the same form do the same to packets, but for these. In a form stand for what was taken out:

    \\0  the chain's own name          \\1  the name of an endpoint's chain
    \\2  address, protocol and port    \\3  the name of another chain of the Service
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from kdiag.parse.chain_merge import Span
from kdiag.parse.endpoint_forms import EndpointForms
from kdiag.parse.service_words import COMMENT, ENDPOINT_KIND, HASH_LENGTH, LINK, Key, Sent

_KEY = re.compile(rb"-d ([0-9a-f.:]+)/(?:32|128) -p (tcp|udp|sctp) -m \2 --dport (\d+)")
CHAIN = re.compile(rb"-A (KUBE-[A-Z]++-[A-Z2-7]{16}) [^\n]*+\n(?:-A \1 [^\n]*+\n)*+")
"""The lines of one chain, and its name."""
# How a chain begins of which each rule behind the first ends with an endpoint, as most do: its name; of its first rule what is
# in front of the key, the key, and where to; and of the second one what is in front of the endpoint. It tells how many follow.
_USUAL = re.compile(
    rb"-A (KUBE-[A-Z]++-[A-Z2-7]{16}) ((?:! -[si] \S++ )?+)-d ([0-9a-f.:]++)/(?:32|128) -p (tcp|udp|sctp)"
    rb'(?: -m comment --comment "[^"\\\n]*+")?+ -m \4 --dport (\d++)( -j [A-Z-]++)\n'
    rb"-A \1 ((?:-m statistic --mode random --probability [0-9.]++ )?+-j KUBE-SEP-)"
)
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


class ChainText(Struct, frozen=True, gc=False):
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
    """How the rules of a chain stand behind its first one if each ends with an endpoint: `layout` has turn by turn what is in
    `others` and the hash in a name, without the beginnings and ends of lines."""

    unpack: Callable[[bytes, int], tuple[bytes, ...]]
    size: int
    others: tuple[bytes, ...]
    form: ChainForm
    kind: bytes


class ChainForms:
    """Forms of chains, each worked out once. Those of `like` are known from the start."""

    def __init__(self, like: ChainForms | None = None) -> None:
        self._known: dict[bytes, ChainForm] = dict(like._known) if like is not None else {}
        self._usual: dict[tuple[bytes, ...], _Usual] = dict(like._usual) if like is not None else {}
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
        if endpoints is not None:
            for _, _, _, text in self.read_all(block, (0, len(block)), endpoints, keep_names=keep_names):
                return text
        return self._read_any(name, block, endpoints, keep_names=keep_names)

    def read_all(
        self, content: bytes, region: Span, endpoints: EndpointForms, *, keep_names: bool
    ) -> Iterator[tuple[bytes, int, int, ChainText]]:
        """The same of the chains that follow each other in a region: the name of each, where it ends, how many lines it has, and
        what is in it. No more from where none stands."""
        start, stop = region
        match, known, sent_to = _USUAL.match, self._usual, endpoints.sent_to
        while start < stop:
            found = match(content, start, stop)
            if found is not None:
                name, before, address, protocol, port, after, first = found.groups()
                usual = known.get((name[:-HASH_LENGTH], before, after, first))
                # From the line break on that is in front of the first of the other rules.
                behind = found.start(7) - len(name) - 5
                if usual is not None and (end := behind + usual.size) <= stop:
                    parts = usual.unpack(content, behind)
                    beginning, names = parts[0], parts[2::3]
                    # The chain goes no further: behind it, there is an end of a line, and not another one of the chain.
                    if (
                        parts[1::3] == usual.others
                        and parts[::3].count(beginning) == len(names)
                        and content.startswith(b"\n", end - 1)
                        and not content.startswith(beginning, end - 1, stop)
                        and (sent := sent_to(names)) is not None
                    ):
                        # There are chains of all these names, so they are names.
                        keys = ((address, protocol, port),)
                        kept = names if keep_names else ()
                        yield name, end, len(names) + 1, ChainText(usual.form, kept, (), keys, usual.kind, sent)
                        start = end
                        continue
            whole = CHAIN.match(content, start, stop)
            if whole is None:
                return
            name, start = whole[1], whole.end()
            text = self._read_any(name, whole[0], endpoints, keep_names=keep_names)
            if found is not None and text.form.regular and len(text.form.runs) == 1:
                size = len(name) + len(b"\n-A  ")
                lines = tuple([line[size - 1 : -HASH_LENGTH] for line in whole[0][:-1].split(b"\n")[1:]])
                if _is_usual(before + after, lines):
                    layout = struct.Struct("".join([f"{size}s{len(line)}s{HASH_LENGTH}s" for line in lines]))
                    known[text.kind, before, after, first] = _Usual(
                        layout.unpack_from, layout.size + 1, lines, text.form, text.kind
                    )
            yield name, start, whole[0].count(b"\n"), text

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
