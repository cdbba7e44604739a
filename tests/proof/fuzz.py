"""Damaged and hostile input: nothing but kdiag's own errors may come of it, and in time."""

from __future__ import annotations

import atexit
import gc
import math
import multiprocessing
import os
import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from random import Random
from types import FrameType

from kdiag.errors import KdiagError
from tests.proof.figure import Figure
from tests.proof.fuzz_subjects import Subject, subjects

WANTED = 2_000_000
WORKERS = 2
FOUND = Path(__file__).parent / "found_inputs"
"""Inputs that broke something once: a file each, in a directory that is called as its subject (slashes left out)."""

_GRACE_S = 0.5
_S_PER_MB = 1.0
_LARGE_BYTES = 200_000
_LARGE_EVERY = 4000


class TooLongError(BaseException):
    """Raised by the watchdog: what is asked hangs."""


class _Watchdog:
    """Looks now and then whether what is asked hangs: a timer of its own for every input would cost more than many of them.

    Times are those of the processor.
    """

    def __init__(self) -> None:
        self._ends_s = math.inf
        signal.signal(signal.SIGPROF, self._look)
        signal.setitimer(signal.ITIMER_PROF, 1.0, 1.0)
        # Python takes its handlers away when it ends, and without one the signal kills.
        atexit.register(signal.setitimer, signal.ITIMER_PROF, 0)

    def allow(self, seconds: float) -> None:
        """What comes now may take so long."""
        self._ends_s = time.process_time() + seconds

    def rest(self) -> None:
        """Nothing is asked."""
        self._ends_s = math.inf

    def _look(self, _number: int, _frame: FrameType | None) -> None:
        if time.process_time() > self._ends_s:
            self._ends_s = math.inf
            raise TooLongError


@cache
def _watchdog(_process: int) -> _Watchdog:
    return _Watchdog()


@dataclass(slots=True)
class Tally:
    """What one worker did."""

    tried: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    broken: list[tuple[str, bytes]] = field(default_factory=list)
    wrong: int = 0


def ask(subject: Subject, content: bytes) -> str | None:
    """What is wrong with how the subject takes the input, None if nothing is. Times are those of the processor."""
    watchdog = _watchdog(os.getpid())
    allowed_s = _GRACE_S + _S_PER_MB * len(content) / 1e6
    for last in (False, False, True):  # a machine that is busy may be slow once or twice
        begun_s = time.process_time()
        watchdog.allow(10 * allowed_s + 5)
        try:
            subject.ask(content)
        except KdiagError:
            pass
        except TooLongError:
            return f"hangs: {len(content)} bytes"
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            return f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"[:400]
        finally:
            watchdog.rest()
        took_s = time.process_time() - begun_s
        if took_s <= allowed_s:
            return None
        if last:
            return f"takes {took_s:.1f} s for {len(content)} bytes"
    return None


def large(subject: Subject, random: Random) -> bytes:
    """An input of some size, with one piece of it over and over: what grows faster than its input shows here."""
    seed = random.choice(subject.seeds)
    if random.random() < 0.3 or len(seed) < 2:
        return seed * (_LARGE_BYTES // max(1, len(seed)))
    start = random.randrange(len(seed))
    piece = seed[start : start + random.choice((1, 2, 5, 20, 100))]
    return seed[:start] + piece * (_LARGE_BYTES // len(piece)) + seed[start:]


def inputs(random: Random) -> Iterator[tuple[Subject, bytes]]:
    """Endless inputs: subjects by their weight, each with what mutation makes of its seeds."""
    turns = [subject for subject in subjects() for _ in range(subject.weight)]
    number = 0
    while True:
        random.shuffle(turns)
        for subject in turns:
            number += 1
            if subject.grows and number % _LARGE_EVERY == 0:
                yield subject, large(subject, random)
            else:
                yield subject, subject.mutate(random.choice(subject.seeds), subject.seeds, random)


def work(budget_s: float, most: int, seed: str) -> Tally:
    """One worker's share: `most` inputs, or as many as there is time for."""
    subjects()
    gc.collect()
    gc.freeze()  # the seeds stay: nobody has to look at them again
    tally = Tally()
    end = time.monotonic() + budget_s
    for number, (subject, content) in enumerate(islice(inputs(Random(seed)), most)):
        complaint = ask(subject, content)
        tally.tried[subject.name] += 1
        if complaint is not None:
            tally.wrong += 1
            text = f"{subject.name}: {complaint}"
            if text not in tally.complaints and len(tally.complaints) < 40:
                tally.complaints.append(text)
                tally.broken.append((subject.name, content))
        if number % 16 == 0 and time.monotonic() > end:
            break
    return tally


def kept_inputs() -> list[tuple[str, Path]]:
    """Inputs that broke something once, with the names of their subjects."""
    by_directory = {directory_of(subject.name): subject.name for subject in subjects()}
    return [(by_directory[path.parent.name], path) for path in sorted(FOUND.glob("*/*")) if path.is_file()]


def directory_of(name: str) -> str:
    """A subject's name as that of a directory."""
    return name.strip("/").replace("/", "-").replace(" ", "-")


def run(budget_s: float, seed: int) -> Figure:
    """Feed damaged input to everything that reads or writes text, on two processors: as many as are wanted, or as there
    is time for."""
    begun = time.monotonic()
    subjects()
    left_s = max(1.0, budget_s - (time.monotonic() - begun) - 1)
    begun = time.monotonic()
    with ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("fork")) as pool:
        share = [-(-WANTED // WORKERS)] * WORKERS
        tallies = list(pool.map(work, [left_s] * WORKERS, share, [f"{seed}/{number}" for number in range(WORKERS)]))
    took_s = time.monotonic() - begun
    tried: Counter[str] = Counter()
    for tally in tallies:
        tried += tally.tried
    total = sum(tried.values())
    broken = dict(zip((text for tally in tallies for text in tally.complaints), (b for t in tallies for b in t.broken), strict=True))  # fmt: skip
    return Figure(
        name="damaged or hostile inputs",
        tried=total,
        wrong=sum(tally.wrong for tally in tallies),
        wanted=WANTED,
        details=(
            f"{total / took_s:,.0f} inputs a second on {WORKERS} processors; seed {seed}; an input may take {_GRACE_S} s and {_S_PER_MB:g} s for each MB",
            *(f"{name}: {number:,}" for name, number in sorted(tried.items())),
        ),
        complaints=tuple(f"{text}: {content[:300]!r}" for text, (_, content) in sorted(broken.items())),
    )
