"""Figure 2: recorded nodes are damaged; what changes the fate of a packet must be told, and nothing else.

Ground truth is the walk of the damaged dump against that of the sound one (`test_mutations` tells more); that the walk is
right is the matter of figure 1, which sends packets through mutated recordings too.
"""

from __future__ import annotations

import os
import random
import time

from kdiag.model.addresses import Family
from tests.corpus_fixtures import HEALTHY_IPTABLES
from tests.proof.figure import Figure
from tests.proof.test_mutations import Mutant, Subject, _tolerated_by_release, _words, judged, mutants, subject

NAME = "mutants of recorded rule sets"
SUBJECTS = (
    *((name, Family.IPV4) for name in HEALTHY_IPTABLES),
    ("dual-v1.36.2-iptables-nft", Family.IPV6),
)
SAMPLE = 400

REASONS = (
    "equivalent: up to 1.24 the drop of a load balancer's other clients is left to a mark that kubelet's rules act upon, "
    "so a rule set without it is legal",
    "equivalent: up to 1.20 it hangs on br_netfilter whether a pod reaches an external IP, so both ways are legal",
    "told although no packet of today suffers: base jumps, the dispatch to node ports, the masquerade rule, flushed and "
    "never written chains (the next Service will)",
)


class _Tally:
    """What came of the mutants of one recording."""

    def __init__(self) -> None:
        self.tried = self.changing = self.legal = self.found = 0
        self.missed: list[str] = []
        self.false_alarms: list[str] = []
        self.undecided: list[str] = []

    def add(self, on: Subject, mutant: Mutant) -> None:
        result = judged(on, mutant)
        self.tried += 1
        beyond = any(not _tolerated_by_release(on, frontend) for frontend in result.tolerated)
        if result.missed or beyond:
            self.missed.append(f"missed: {on.name} {on.family}: {_words(result)}")
        elif result.legal_all_the_same:
            self.legal += 1
        elif result.changed:
            self.found += 1
        self.changing += bool(result.changed)
        if result.false_alarm:
            self.false_alarms.append(f"false alarm: {on.name} {on.family}: {_words(result)}")
        if result.undecided:
            self.undecided.append(f"undecided: {on.name} {on.family}: {_words(result)}")

    @property
    def wrong(self) -> list[str]:
        """All that ought not to be."""
        return [*self.missed, *self.false_alarms, *self.undecided]


def run(budget_s: float, seed: int) -> Figure:
    """A sample of the mutants of each recording within the budget; all of them if KDIAG_MUTATIONS=all."""
    everything = os.environ.get("KDIAG_MUTATIONS") == "all"
    lined_up: list[tuple[Subject, int, _Tally]] = []
    for name, family in SUBJECTS:
        start = time.monotonic()
        on, tally = subject(name, family), _Tally()
        size = sum(1 for _ in mutants(on.text))
        wanted = size if everything else min(size, SAMPLE)
        chosen = set(random.Random(f"{seed}/{name}/{family}").sample(range(size), wanted))
        # Each mutant is a whole dump: only those that are tried are kept, in the order in which they were drawn.
        kept = [mutant for at, mutant in enumerate(mutants(on.text)) if at in chosen]
        random.Random(seed).shuffle(kept)
        for mutant in kept:
            if tally.tried and not everything and time.monotonic() - start > budget_s / len(SUBJECTS):
                break
            tally.add(on, mutant)
        lined_up.append((on, size, tally))
    details = [
        f"{on.name} {on.family}: {tally.tried} of {size} mutants, {tally.changing} fate-changing, {tally.found} found, "
        f"{tally.legal} changed to what is legal too, {len(tally.missed)} missed, {len(tally.false_alarms)} false alarms"
        for on, size, tally in lined_up
    ]
    complaints = [text for _, _, tally in lined_up for text in tally.wrong]
    return Figure(
        NAME,
        sum(tally.tried for _, _, tally in lined_up),
        len(complaints),
        details=(*details, *REASONS),
        complaints=tuple(complaints),
        wanted=len(SUBJECTS),
    )
