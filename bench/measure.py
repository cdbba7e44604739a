"""What a process costs, and comparing two that take turns."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

PYTHON = sys.executable


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one whole process with all that it started: CPU (user and system) in seconds, peak RSS in bytes."""

    cpu_s: float
    rss_bytes: int
    exit_status: int = 0
    output: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Something that must be right for a figure to mean anything."""

    name: str
    holds: bool
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A ratio. `sense` says which side of `must` and `goal` is the good one; they are None where nothing is asked.

    `ours` and `theirs` are the medians that the ratio is made of, in `unit`.
    """

    id: str
    what: str
    ours: float
    theirs: float
    ratio: float
    must: float | None
    goal: float | None
    sense: Literal["at most", "at least"] = "at most"
    unit: str = "s"
    rounds: int = 1
    gates: tuple[Gate, ...] = ()
    note: str = ""

    @property
    def holds(self) -> bool:
        """True if the ratio keeps to `must`, and all gates hold."""
        return self._keeps(self.must) and all(gate.holds for gate in self.gates)

    @property
    def reaches(self) -> bool:
        """True if it keeps to `goal`, too."""
        return self.holds and self._keeps(self.goal)

    def _keeps(self, bound: float | None) -> bool:
        if bound is None:
            return True
        return self.ratio <= bound if self.sense == "at most" else self.ratio >= bound


@dataclass(slots=True)
class Costs:
    """What several rounds cost."""

    cpu_s: list[float] = field(default_factory=list)
    rss_bytes: list[float] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)

    @property
    def cpu(self) -> float:
        return statistics.median(self.cpu_s)

    @property
    def rss(self) -> float:
        return statistics.median(self.rss_bytes)


def run(command: Sequence[str], *, environment: Mapping[str, str] | None = None, keep: bool = False) -> Cost:
    """Runs a command to its end. Without `keep` its output goes nowhere.

    This process must be small: what a child inherits until it runs its program counts as its own (ru_maxrss).
    """
    process = subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if keep else subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # As a user has it: what was compiled is kept.
        env={
            **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
            **(environment or {}),
        },
    )
    output = process.stdout.read().decode() if process.stdout else ""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.stdout:
        process.stdout.close()
    return Cost(
        cpu_s=used.ru_utime + used.ru_stime,
        rss_bytes=used.ru_maxrss * 1024,
        exit_status=process.returncode,
        output=output,
    )


def in_turns(jobs: Mapping[str, Callable[[], Cost]], rounds: int) -> dict[str, Costs]:
    """Each job `rounds` times, one after the other and every other round backwards: what else the machine does, and what
    it still has in its caches, meets all alike."""
    costs = {name: Costs() for name in jobs}
    for number in range(rounds):
        for name in list(jobs) if number % 2 == 0 else reversed(list(jobs)):
            cost = jobs[name]()
            costs[name].cpu_s.append(cost.cpu_s)
            costs[name].rss_bytes.append(cost.rss_bytes)
            costs[name].outputs.append(cost.output)
    return costs
