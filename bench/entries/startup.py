"""B5: what starting kdiag costs, against `python -c pass`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from bench.measure import PYTHON, Cost, Gate, Row, in_turns, run
from bench.rig import Rig

_COMPLETING = {"_KDIAG_COMPLETE": "complete_bash"}
_STARTS: dict[str, tuple[list[str], dict[str, str], str]] = {
    "kdiag --help": (["--help"], {"COLUMNS": "80"}, "Usage: kdiag"),
    "kdiag preflight --help": (["preflight", "--help"], {"COLUMNS": "80"}, "Usage: kdiag preflight"),
    "completion of a command": ([], {**_COMPLETING, "COMP_WORDS": "kdiag pre", "COMP_CWORD": "1"}, "preflight"),
    "completion of an option": (
        [],
        {**_COMPLETING, "COMP_WORDS": "kdiag trace --sna", "COMP_CWORD": "2"},
        "--snapshot",
    ),
}


def _start(name: str) -> Cost:
    words, environment, _ = _STARTS[name]
    return run([PYTHON, "-m", "kdiag", *words], environment=environment, keep=True)


def starting(rig: Rig) -> Iterator[Row]:
    """B5: whole processes."""
    jobs: dict[str, Callable[[], Cost]] = {name: partial(_start, name) for name in _STARTS}
    jobs["floor"] = lambda: run([PYTHON, "-c", "pass"])
    costs = in_turns(jobs, rig.many)
    for name, (_, _, expected) in _STARTS.items():
        # Completion gives up after 0.3 s, which a busy machine may take in some of the rounds.
        answered = any(output.startswith(expected) for output in costs[name].outputs)
        yield Row(
            id="B5",
            what=f"{name} : python -c pass",
            ours=costs[name].cpu,
            theirs=costs["floor"].cpu,
            ratio=costs[name].cpu / costs["floor"].cpu,
            must=12,
            goal=9,
            rounds=rig.many,
            gates=(Gate(name="it answers", holds=answered),),
        )
