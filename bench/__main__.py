"""Prints the table of ratios, and writes bench/RESULTS.md.

    .venv/bin/python -m bench [ID …] [--scale 0.1] [--rounds 3] [--directory DIR]

Without an ID all are measured, and only then, at full scale, RESULTS.md is written. Ends with 1 if a ratio does not keep to
its "must" or something is wrong with what was measured.
"""

from __future__ import annotations

import argparse
import compileall
import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import kdiag
from bench.entries import api, digest, gather, rules, startup
from bench.measure import PYTHON, Row, run
from bench.rig import Rig

ENTRIES: tuple[tuple[tuple[str, ...], Callable[[Rig], Iterator[Row]]], ...] = (
    (("B1", "B1b"), rules.one_dump),
    (("B2",), rules.next_node),
    (("B3",), rules.memory),
    (("B4",), api.reading),
    (("B5",), startup.starting),
    (("B6",), digest.on_the_node),
    (("B7",), gather.real_servers),
    (("B8",), rules.nftables),
    (("B9",), rules.tracing),
)
RESULTS = Path(__file__).parent / "RESULTS.md"
_HEAD = ("id", "ratio", "", "median", "must", "goal", "holds", "what")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").partition("\n")[0])
    known = [row_id for ids, _ in ENTRIES for row_id in ids]
    parser.add_argument("ids", nargs="*", metavar="ID", help=f"what to measure: {', '.join(known)} (default: all)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full sizes, for a quick try")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of what takes long")
    parser.add_argument(
        "--directory", type=Path, help="where made-up clusters are, and stay (default: a temporary one)"
    )
    given = parser.parse_args()
    unknown = sorted(set(given.ids) - set(known))
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(known)}")
    started = time.monotonic()
    _compile()
    with tempfile.TemporaryDirectory(prefix="kdiag-bench-") as temporary:
        directory = given.directory or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        rig = Rig(directory=directory, scale=given.scale, rounds=given.rounds, many=max(9, given.rounds))
        rows: list[Row] = []
        for ids, entry in ENTRIES:
            if given.ids and not set(ids) & set(given.ids):
                continue
            for row in entry(rig):
                rows.append(row)
                print(_line(row), flush=True)
    minutes = (time.monotonic() - started) / 60
    failed = [row for row in rows if not row.holds]
    missed = [row for row in rows if row.holds and not row.reaches]
    print(
        f"{len(rows)} ratios in {minutes:.0f} min: {len(failed)} not as they must be, {len(missed)} short of the goal"
    )
    if not given.ids and given.scale == 1.0:
        RESULTS.write_text(_results(rows, minutes, given.rounds))
    return 1 if failed else 0


def _compile() -> None:
    """Compile the modules that are measured: a fresh clone has not, and its first process would be measured doing so."""
    for place in kdiag.__path__:
        compileall.compile_dir(place, quiet=2, workers=0)
    run((PYTHON, "-c", "import kubernetes, paramiko, tabulate, typer, yaml"))


def _line(row: Row) -> str:
    cells = _cells(row)
    return "  ".join(
        (*(cell.ljust(width) for cell, width in zip(cells, (4, 8, 1, 24, 7, 7, 10), strict=False)), cells[-1])
    )


def _cells(row: Row) -> tuple[str, ...]:
    ratio = "-" if math.isnan(row.ratio) else f"{row.ratio:.3g}"
    sign = "≤" if row.sense == "at most" else "≥"
    bounds = ("" if bound is None else f"{sign} {bound:g}" for bound in (row.must, row.goal))
    holds = "goal" if row.reaches else "must" if row.holds else "NO"
    said = [
        gate.name + (f" ({gate.detail})" if gate.detail else "") + ("" if gate.holds else ": NO") for gate in row.gates
    ]
    what = "; ".join([row.what, *said, *([row.note] if row.note else [])])
    return (row.id, ratio, "", f"{row.ours:.3g} : {row.theirs:.3g} {row.unit}", *bounds, holds, what)


def _results(rows: list[Row], minutes: float, rounds: int) -> str:
    lines = [
        "# Results",
        "",
        "<!-- Written by `make bench`. -->",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {_processor()}, {os.cpu_count()} cores, Linux {platform.release().split('-')[0]}, Python "
        f"{platform.python_version()}. Load at the end {os.getloadavg()[0]:.1f}; {minutes:.0f} minutes in all; what takes "
        f"long was measured {'once' if rounds == 1 else f'{rounds} times'}, the rest nine times or more.",
        "",
        "Every ratio is of medians of CPU seconds (user and system) of whole processes that took turns, or of peak RSS, as",
        "`what` says; `median` is what it is made of. README.md says what is measured, and what the gates are that stand beside.",
        "",
        f"| {' | '.join(name for name in _HEAD if name)} |",
        f"|{'---|' * (len(_HEAD) - 1)}",
    ]
    for row in rows:
        cells = [cell for index, cell in enumerate(_cells(row)) if index != 2]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")), "?")


if __name__ == "__main__":
    sys.exit(main())
