"""How much CPU starting kdiag costs, as a ratio to `python -c pass` in the same run.

    .venv/bin/python bench/startup.py [ROUNDS]

The commands take turns, so that whatever else the machine does hits all of them alike; the median of each is compared.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "kdiag --version": [sys.executable, "-m", "kdiag", "--version"],
    "kdiag --help": [sys.executable, "-m", "kdiag", "--help"],
    "kdiag preflight --help": [sys.executable, "-m", "kdiag", "preflight", "--help"],
    "completion of a command": [sys.executable, "-m", "kdiag"],
}
COMPLETING = {"_KDIAG_COMPLETE": "complete_bash", "COMP_WORDS": "kdiag pre", "COMP_CWORD": "1"}


def cpu_s(label: str) -> float:
    """CPU seconds (user and system) of one run."""
    environment = {**os.environ, **(COMPLETING if label.startswith("completion") else {})}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(COMMANDS[label], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    measured: dict[str, list[float]] = {label: [] for label in COMMANDS}
    for _ in range(rounds):
        for label in COMMANDS:
            measured[label].append(cpu_s(label))
    floor = statistics.median(measured["python -c pass"])
    print(f"{'command':<26} {'CPU ms':>8} {'ratio':>7}   (median of {rounds} rounds)")
    for label, seconds in measured.items():
        median = statistics.median(seconds)
        print(f"{label:<26} {median * 1000:8.1f} {median / floor:7.1f}")


if __name__ == "__main__":
    main()
