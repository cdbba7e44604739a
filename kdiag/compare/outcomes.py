"""When two outcomes are the same, and what is wrong when they are not."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from kdiag.model.addresses import SocketAddress
from kdiag.model.dataplane import Disposition, Fate, Masquerade, Outcome
from kdiag.model.difference import Symptom

# Probabilities are written with 5 (up to 1.16) or 10 decimals and rounded to 31 bits by the kernel: n endpoints' shares
# stay within n times that of 1/n. A rule that was lost or added moves them by far more.
SHARE_TOLERANCE = 1e-4


class Fault(Struct, frozen=True, kw_only=True):
    """What is wrong with an outcome. `fates` are the actual fates that show it, `backends` the endpoints concerned."""

    symptom: Symptom
    backends: tuple[SocketAddress, ...] = ()
    fates: tuple[Fate, ...] = ()


def shares_by_backend(outcome: Outcome) -> dict[SocketAddress, float]:
    """Share of each backend that packets are delivered to."""
    shares: dict[SocketAddress, float] = {}
    for fate, share in outcome.shares:
        if fate.disposition is Disposition.BACKEND and fate.backend is not None:
            shares[fate.backend] = shares.get(fate.backend, 0.0) + share
    return shares


def agree(actual: Outcome, legal: Outcome, *, filter_seen: bool) -> bool:
    """True if the actual outcome is what the legal one says.

    A source address rewritten by somebody else's rule (a CNI's) is no disagreement: such rules act on their own
    account. Without the filter table, refused, dropped and untouched packets cannot be told apart.
    """
    mine, theirs = _terminal(actual, filter_seen), _terminal(legal, filter_seen)
    if mine != theirs:
        return False
    if not _same_shares(shares_by_backend(actual), shares_by_backend(legal)):
        return False
    return not _masquerade_faults(actual, legal) and not _affinity_faults(actual, legal)


def _terminal(outcome: Outcome, filter_seen: bool) -> frozenset[Disposition]:
    found = outcome.dispositions
    if filter_seen:
        return found
    return frozenset(
        Disposition.UNTRANSLATED if item in (Disposition.REJECTED, Disposition.DROPPED) else item for item in found
    )


def _same_shares(actual: dict[SocketAddress, float], legal: dict[SocketAddress, float]) -> bool:
    return actual.keys() == legal.keys() and all(
        abs(share - legal[backend]) <= SHARE_TOLERANCE for backend, share in actual.items()
    )


def distance(actual: Outcome, legal: Outcome) -> tuple[int, int, int]:
    """How far an outcome is from a legal one; the nearest is the one to explain the difference by."""
    have, want = shares_by_backend(actual), shares_by_backend(legal)
    return (
        len(actual.dispositions ^ legal.dispositions),
        len(have.keys() ^ want.keys()),
        len(_masquerade_faults(actual, legal)) + len(_affinity_faults(actual, legal)),
    )


def faults(actual: Outcome, legal: Outcome) -> tuple[Fault, ...]:
    """Everything that is wrong with an outcome that ought to be the legal one, most telling first."""
    have, want = shares_by_backend(actual), shares_by_backend(legal)
    if not want and Disposition.BACKEND not in legal.dispositions:
        return _faults_of_refusal(actual, legal, have)
    found: list[Fault] = []
    untouched = [fate for fate, _ in actual.shares if fate.disposition is Disposition.UNTRANSLATED]
    refused = [
        fate
        for fate, _ in actual.shares
        if fate.disposition in (Disposition.REJECTED, Disposition.DROPPED, Disposition.UNKNOWN)
    ]
    missing = want.keys() - have.keys()
    stale = have.keys() - want.keys()
    if untouched:
        found.append(Fault(symptom=Symptom.NOT_PROGRAMMED, backends=_sorted(missing), fates=tuple(untouched)))
    if refused:
        found.append(Fault(symptom=Symptom.REFUSED, backends=_sorted(missing), fates=tuple(refused)))
    wrong = {backend for backend in stale if any(backend.address == other.address for other in missing)}
    if wrong:
        found.append(Fault(symptom=Symptom.WRONG_PORT, backends=_sorted(wrong), fates=_fates_to(actual, wrong)))
        missing = {item for item in missing if not any(item.address == other.address for other in wrong)}
        stale = stale - wrong
    if stale:
        found.append(Fault(symptom=Symptom.STALE_ENDPOINT, backends=_sorted(stale), fates=_fates_to(actual, stale)))
    if missing and not untouched and not refused:
        found.append(Fault(symptom=Symptom.MISSING_ENDPOINT, backends=_sorted(missing), fates=_fates_to(actual, have)))
    if not found and not _same_shares(have, want):
        heavy = {backend for backend, share in have.items() if share > want[backend] + SHARE_TOLERANCE}
        found.append(Fault(symptom=Symptom.UNBALANCED, backends=_sorted(heavy), fates=_fates_to(actual, heavy)))
    return (*found, *_masquerade_faults(actual, legal), *_affinity_faults(actual, legal))


def _faults_of_refusal(actual: Outcome, legal: Outcome, have: dict[SocketAddress, float]) -> tuple[Fault, ...]:
    if have:
        return (Fault(symptom=Symptom.STALE_ENDPOINT, backends=_sorted(have), fates=_fates_to(actual, have)),)
    if Disposition.UNTRANSLATED in legal.dispositions:
        return (Fault(symptom=Symptom.REFUSED, fates=tuple(fate for fate, _ in actual.shares)),)
    return (Fault(symptom=Symptom.NOT_REFUSED, fates=tuple(fate for fate, _ in actual.shares)),)


def _fates_to(outcome: Outcome, backends: Iterable[SocketAddress]) -> tuple[Fate, ...]:
    wanted = set(backends)
    return tuple(fate for fate, _ in outcome.shares if fate.backend in wanted)


def _sorted(backends: Iterable[SocketAddress]) -> tuple[SocketAddress, ...]:
    return tuple(sorted(backends, key=lambda item: (item.address.version, int(item.address), item.port)))


def _masquerade_faults(actual: Outcome, legal: Outcome) -> tuple[Fault, ...]:
    wanted = {fate.backend: fate.masquerade for fate, _ in legal.shares if fate.disposition is Disposition.BACKEND}
    lacking: list[Fate] = []
    needless: list[Fate] = []
    for fate, _ in actual.shares:
        if fate.disposition is not Disposition.BACKEND or fate.backend not in wanted:
            continue
        if wanted[fate.backend] is Masquerade.PROXY and fate.masquerade is Masquerade.NO:
            lacking.append(fate)
        elif wanted[fate.backend] is Masquerade.NO and fate.masquerade is Masquerade.PROXY:
            needless.append(fate)
    found = []
    if lacking:
        found.append(Fault(symptom=Symptom.MASQUERADE_MISSING, backends=_backends(lacking), fates=tuple(lacking)))
    if needless:
        found.append(Fault(symptom=Symptom.MASQUERADE_NEEDLESS, backends=_backends(needless), fates=tuple(needless)))
    return tuple(found)


def _affinity_faults(actual: Outcome, legal: Outcome) -> tuple[Fault, ...]:
    wanted = {fate.backend: fate.affinity_s for fate, _ in legal.shares if fate.disposition is Disposition.BACKEND}
    wrong = [
        fate
        for fate, _ in actual.shares
        if fate.disposition is Disposition.BACKEND
        and fate.backend in wanted
        and fate.affinity_s != wanted[fate.backend]
    ]
    return (Fault(symptom=Symptom.AFFINITY, backends=_backends(wrong), fates=tuple(wrong)),) if wrong else ()


def _backends(fates: Iterable[Fate]) -> tuple[SocketAddress, ...]:
    return _sorted({fate.backend for fate in fates if fate.backend is not None})


def describe(outcome: Outcome, limit: int = 4) -> str:
    """An outcome in words: `DNAT to 10.244.1.3:80`, `rejected`, `1/3 each to …`, with masquerade where it tells."""
    shares = shares_by_backend(outcome)
    parts: list[str] = []
    if shares:
        backends = _sorted(shares)
        texts = [str(backend) for backend in backends[:limit]]
        more = f" and {len(backends) - limit} more" if len(backends) > limit else ""
        even = max(shares.values()) - min(shares.values()) <= SHARE_TOLERANCE and abs(sum(shares.values()) - 1) < 1e-6
        if even:
            parts.append("DNAT to " + ", ".join(texts) + more)
        else:
            parts.append(
                "DNAT to " + ", ".join(f"{backend} ({shares[backend]:.0%})" for backend in backends[:limit]) + more
            )
    by_proxy = sum(
        weight for fate, weight in outcome.shares if fate.disposition is Disposition.BACKEND and fate.backend is None
    )
    if by_proxy:
        parts.append("to the proxy process")
    for disposition, words in WORDS.items():
        share = sum(weight for fate, weight in outcome.shares if fate.disposition is disposition)
        if share:
            parts.append(words if share > 1 - 1e-9 else f"{words} ({share:.0%})")
    return "; ".join(parts)


WORDS = {
    Disposition.UNTRANSLATED: "not translated",
    Disposition.REJECTED: "rejected",
    Disposition.DROPPED: "dropped",
    Disposition.UNKNOWN: "taken by a target that kdiag does not know",
}
