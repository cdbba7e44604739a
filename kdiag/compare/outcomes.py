"""When two outcomes are the same, and what is wrong when they are not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

from msgspec import Struct

from kdiag.model.addresses import SocketAddress
from kdiag.model.dataplane import TO_BACKEND, Disposition, Fate, Masquerade, Outcome
from kdiag.model.difference import Symptom

# Probabilities are written with 5 (up to 1.16) or 10 decimals and rounded to 31 bits by the kernel: n endpoints' shares
# stay within n times that of 1/n. A rule that was lost or added moves them by far more.
SHARE_TOLERANCE = 1e-4


class Fault(Struct, frozen=True, kw_only=True):
    """What is wrong with an outcome. `fates` are the actual fates that show it, `backends` the endpoints concerned."""

    symptom: Symptom
    backends: tuple[SocketAddress, ...] = ()
    fates: tuple[Fate, ...] = ()


class _Shape(Struct, frozen=True):
    """Where the packets of an outcome end, whoever rewrites their source: all ways that some share ends, and the shares of
    the backends that packets are delivered to."""

    dispositions: frozenset[Disposition]
    shares: dict[SocketAddress, float]


class _Wrong(Struct, frozen=True):
    """A fault in where packets end. It shows at the fates with one of these dispositions, or to one of these backends."""

    symptom: Symptom
    backends: tuple[SocketAddress, ...] = ()
    dispositions: AbstractSet[Disposition] = frozenset()
    to: AbstractSet[SocketAddress] = frozenset()


class OutcomeComparer:
    """Compares outcomes of one Service port: whether they are the same, and what is wrong when they are not.

    They differ in little but who is masqueraded: what they have in common is worked out once. The outcomes must live as long
    as this.
    """

    def __init__(self) -> None:
        self._shapes: dict[tuple[object, ...], _Shape] = {}
        self._shape_of: dict[int, _Shape] = {}
        self._wrong: dict[tuple[int, int], tuple[_Wrong, ...]] = {}
        self._arrived: dict[tuple[int, int], tuple[Fault, ...]] = {}
        self._words: dict[int, str] = {}

    def agree(self, actual: Outcome, legal: Outcome, *, filter_seen: bool) -> bool:
        """True if the actual outcome is what the legal one says.

        A source address rewritten by somebody else's rule (a CNI's) is no disagreement: such rules act on their own
        account. Without the filter table, refused, dropped and untouched packets cannot be told apart.
        """
        have, want = self._shape(actual), self._shape(legal)
        if _terminal(have.dispositions, filter_seen) != _terminal(want.dispositions, filter_seen):
            return False
        return _same_shares(have.shares, want.shares) and not self._on_the_way(actual, legal)

    def dispositions(self, outcome: Outcome) -> frozenset[Disposition]:
        """All ways that some share ends."""
        return self._shape(outcome).dispositions

    def nearest(self, actual: Outcome, legal: Sequence[Outcome]) -> Outcome:
        """The first of the legal outcomes that are least far from the actual one: that to explain the difference by."""
        return legal[0] if len(legal) == 1 else min(legal, key=lambda allowed: self.distance(actual, allowed))

    def distance(self, actual: Outcome, legal: Outcome) -> tuple[int, int, int]:
        """How far an outcome is from a legal one."""
        have, want = self._shape(actual), self._shape(legal)
        return (
            len(have.dispositions ^ want.dispositions),
            len(have.shares.keys() ^ want.shares.keys()),
            len(self._on_the_way(actual, legal)),
        )

    def faults(self, actual: Outcome, legal: Outcome) -> tuple[Fault, ...]:
        """Everything that is wrong with an outcome that ought to be the legal one, most telling first."""
        have, want = self._shape(actual), self._shape(legal)
        key = (id(have), id(want))
        wrong = self._wrong.get(key)
        if wrong is None:
            wrong = self._wrong[key] = tuple(_wrong_ends(have, want))
        found = [
            Fault(
                symptom=item.symptom,
                backends=item.backends,
                fates=tuple(
                    [
                        fate
                        for fate, _ in actual.shares
                        if fate.backend in item.to or fate.disposition in item.dispositions
                    ]
                ),
            )
            for item in wrong
        ]
        if not _delivers(want):
            return tuple(found)
        return (*found, *self._on_the_way(actual, legal))

    def describe(self, outcome: Outcome) -> str:
        """An outcome in words."""
        shape = self._shape(outcome)
        words = self._words.get(id(shape))
        if words is None:
            words = self._words[id(shape)] = describe(outcome)
        return words

    def _on_the_way(self, actual: Outcome, legal: Outcome) -> tuple[Fault, ...]:
        key = (id(actual), id(legal))
        if key not in self._arrived:
            self._arrived[key] = _faults_on_the_way(actual, legal)
        return self._arrived[key]

    def _shape(self, outcome: Outcome) -> _Shape:
        shape = self._shape_of.get(id(outcome))
        if shape is None:
            key = tuple([(fate.disposition, fate.backend, share) for fate, share in outcome.shares])
            shape = self._shapes.get(key)
            if shape is None:
                shape = self._shapes[key] = _Shape(outcome.dispositions, shares_by_backend(outcome))
            self._shape_of[id(outcome)] = shape
        return shape


def shares_by_backend(outcome: Outcome) -> dict[SocketAddress, float]:
    """Share of each backend that packets are delivered to, in the order of the outcome: by address and port."""
    shares: dict[SocketAddress, float] = {}
    for fate, share in outcome.shares:
        if fate.disposition is TO_BACKEND and fate.backend is not None:
            shares[fate.backend] = shares.get(fate.backend, 0.0) + share
    return shares


def _terminal(found: frozenset[Disposition], filter_seen: bool) -> frozenset[Disposition]:
    if filter_seen:
        return found
    return frozenset(
        Disposition.UNTRANSLATED if item in (Disposition.REJECTED, Disposition.DROPPED) else item for item in found
    )


def _same_shares(actual: dict[SocketAddress, float], legal: dict[SocketAddress, float]) -> bool:
    return actual.keys() == legal.keys() and all(
        abs(share - legal[backend]) <= SHARE_TOLERANCE for backend, share in actual.items()
    )


def _delivers(shape: _Shape) -> bool:
    return bool(shape.shares) or Disposition.BACKEND in shape.dispositions


_UNTOUCHED = frozenset({Disposition.UNTRANSLATED})
_REFUSED = frozenset({Disposition.REJECTED, Disposition.DROPPED, Disposition.UNKNOWN})


def _wrong_ends(actual: _Shape, legal: _Shape) -> Iterator[_Wrong]:
    """What is wrong with where packets end."""
    have, want = actual.shares, legal.shares
    if not _delivers(legal):
        if have:
            yield _Wrong(Symptom.STALE_ENDPOINT, tuple(have), to=have.keys())
        else:
            passed = Disposition.UNTRANSLATED in legal.dispositions
            yield _Wrong(Symptom.REFUSED if passed else Symptom.NOT_REFUSED, dispositions=actual.dispositions)
        return
    missing = tuple([backend for backend in want if backend not in have])
    stale = tuple([backend for backend in have if backend not in want])
    untouched, refused = actual.dispositions & _UNTOUCHED, actual.dispositions & _REFUSED
    if untouched:
        yield _Wrong(Symptom.NOT_PROGRAMMED, missing, dispositions=untouched)
    if refused:
        yield _Wrong(Symptom.REFUSED, missing, dispositions=refused)
    elsewhere = {backend.address for backend in missing}
    wrong = tuple([backend for backend in stale if backend.address in elsewhere])
    if wrong:
        yield _Wrong(Symptom.WRONG_PORT, wrong, to=set(wrong))
        reached = {backend.address for backend in wrong}
        missing = tuple([backend for backend in missing if backend.address not in reached])
        stale = tuple([backend for backend in stale if backend.address not in elsewhere])
    if stale:
        yield _Wrong(Symptom.STALE_ENDPOINT, stale, to=set(stale))
    if missing and not untouched and not refused:
        yield _Wrong(Symptom.MISSING_ENDPOINT, missing, to=have.keys())
    if not (untouched or refused or wrong or stale or missing) and not _same_shares(have, want):
        heavy = tuple([backend for backend, share in have.items() if share > want[backend] + SHARE_TOLERANCE])
        yield _Wrong(Symptom.UNBALANCED, heavy, to=set(heavy))


def _faults_on_the_way(actual: Outcome, legal: Outcome) -> tuple[Fault, ...]:
    """What is wrong with packets that arrive where they should: their source address, or whether they stick to it."""
    wanted = {fate.backend: fate for fate, _ in legal.shares if fate.disposition is TO_BACKEND}
    lacking: list[Fate] = []
    needless: list[Fate] = []
    unlike: list[Fate] = []
    for fate, _ in actual.shares:
        want = wanted.get(fate.backend)
        if want is None or fate.disposition is not TO_BACKEND:
            continue
        if want.masquerade is not fate.masquerade:
            if want.masquerade is Masquerade.PROXY and fate.masquerade is Masquerade.NO:
                lacking.append(fate)
            elif want.masquerade is Masquerade.NO and fate.masquerade is Masquerade.PROXY:
                needless.append(fate)
        if want.affinity_s != fate.affinity_s:
            unlike.append(fate)
    return tuple(
        Fault(
            symptom=symptom,
            backends=tuple(dict.fromkeys([fate.backend for fate in fates if fate.backend is not None])),
            fates=tuple(fates),
        )
        for symptom, fates in (
            (Symptom.MASQUERADE_MISSING, lacking),
            (Symptom.MASQUERADE_NEEDLESS, needless),
            (Symptom.AFFINITY, unlike),
        )
        if fates
    )


def describe(outcome: Outcome, limit: int = 4) -> str:
    """An outcome in words: `DNAT to 10.244.1.3:80`, `rejected`, `1/3 each to …`, with masquerade where it tells."""
    shares = shares_by_backend(outcome)
    parts: list[str] = []
    if shares:
        backends = list(shares)
        texts = [str(backend) for backend in backends[:limit]]
        more = f" and {len(backends) - limit} more" if len(backends) > limit else ""
        even = max(shares.values()) - min(shares.values()) <= SHARE_TOLERANCE and abs(sum(shares.values()) - 1) < 1e-6
        if even:
            parts.append("DNAT to " + ", ".join(texts) + more)
        else:
            parts.append(
                "DNAT to " + ", ".join(f"{backend} ({shares[backend]:.0%})" for backend in backends[:limit]) + more
            )
    ends: dict[Disposition, float] = {}
    for fate, weight in outcome.shares:
        if fate.backend is None or fate.disposition is not TO_BACKEND:
            ends[fate.disposition] = ends.get(fate.disposition, 0.0) + weight
    if Disposition.BACKEND in ends:
        parts.append("to the proxy process")
    for disposition, words in WORDS.items():
        share = ends.get(disposition)
        if share:
            parts.append(words if share > 1 - 1e-9 else f"{words} ({share:.0%})")
    return "; ".join(parts)


WORDS = {
    Disposition.UNTRANSLATED: "not translated",
    Disposition.REJECTED: "rejected",
    Disposition.DROPPED: "dropped",
    Disposition.UNKNOWN: "taken by a target that kdiag does not know",
}
