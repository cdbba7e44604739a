"""Damaged and hostile input: nothing but kdiag's own errors may come of it, and in time."""

from __future__ import annotations

import multiprocessing
import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
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

_GRACE_S = 0.25
_S_PER_MB = 1.0
_LARGE_BYTES = 200_000
_LARGE_EVERY = 4000


class TooLongError(BaseException):
    """Raised by the alarm: what is asked hangs."""


@dataclass(slots=True)
class Tally:
    """What one worker did."""

    tried: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    broken: list[tuple[str, bytes]] = field(default_factory=list)
    wrong: int = 0


def _alarm(_number: int, _frame: FrameType | None) -> None:
    raise TooLongError


def ask(subject: Subject, content: bytes) -> str | None:
    """What is wrong with how the subject takes the input, None if nothing is. Times are those of the processor."""
    allowed_s = _GRACE_S + _S_PER_MB * len(content) / 1e6
    for last in (False, True):  # a machine that is busy may be slow once
        begun = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, 10 * allowed_s + 5)
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
            signal.setitimer(signal.ITIMER_PROF, 0)
        took_s = time.process_time() - begun
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
                seed = subject.seeds[random.randrange(len(subject.seeds))]
                yield subject, subject.mutate(seed, subject.seeds, random)


def work(budget_s: float, seed: str) -> Tally:
    """One worker's share."""
    signal.signal(signal.SIGPROF, _alarm)
    tally = Tally()
    end = time.monotonic() + budget_s
    for subject, content in inputs(Random(seed)):
        complaint = ask(subject, content)
        tally.tried[subject.name] += 1
        if complaint is not None:
            tally.wrong += 1
            text = f"{subject.name}: {complaint}"
            if text not in tally.complaints and len(tally.complaints) < 40:
                tally.complaints.append(text)
                tally.broken.append((subject.name, content))
        if time.monotonic() > end:
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
    """Feed damaged input to everything that reads or writes text, on two processors."""
    begun = time.monotonic()
    subjects()
    left_s = max(1.0, budget_s - (time.monotonic() - begun) - 1)
    with ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("fork")) as pool:
        tallies = list(pool.map(work, [left_s] * WORKERS, [f"{seed}/{number}" for number in range(WORKERS)]))
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
            f"{total / left_s:,.0f} inputs a second on {WORKERS} processors; seed {seed}",
            *(f"{name}: {number:,}" for name, number in sorted(tried.items())),
        ),
        complaints=tuple(f"{text}: {content[:300]!r}" for text, (_, content) in sorted(broken.items())),
    )
