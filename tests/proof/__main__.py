"""`make proof`: run every part, print its figure, and write docs/trust.md.

`KDIAG_PROOF_BUDGET_S` is the time of all parts together (default 1500, enough for every figure on two busy processors),
`KDIAG_PROOF_SEED` the seed (default 1). Exit code 0 if every figure holds; one below its wanted number does not.
"""

from __future__ import annotations

import datetime
import importlib
import os
import platform
import sys
from pathlib import Path

from tests.proof.figure import Figure

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "trust.md"
# In the order: the module, its share of the time, and what it is about.
PARTS = (
    (
        "kernel",
        0.13,
        "Kernel referee",
        "Rules are loaded into a real kernel, packets are sent, and the walker must say where.",
    ),
    (
        "mutations",
        0.22,
        "Mutations",
        "Recordings are damaged; whatever changes a packet's fate must be told, and no more.",
    ),
    ("fuzz", 0.42, "Fuzz", "No input crashes or hangs a parser, the snapshot reader or a renderer."),
    ("noise", 0.11, "Order and noise", "What means the same gives the same report."),
    ("churn", 0.12, "Time", "A proxy that keeps up is never blamed, a frozen one always."),
)


def figure_of(module: str, budget_s: float, seed: int) -> Figure:
    """Run one part; one that is not there does not hold."""
    try:
        part = importlib.import_module(f"tests.proof.{module}")
    except ModuleNotFoundError as error:
        return Figure(module, 0, 0, not_here=str(error))
    found: Figure = part.run(budget_s, seed)
    return found


def headline(title: str, figure: Figure) -> str:
    """One line for one figure."""
    if figure.not_here is not None:
        return f"{title}: could not be run: {figure.not_here}"
    few = "" if figure.tried >= figure.wanted else f" (at least {figure.wanted:,} are wanted)"
    return f"{title}: {figure.tried:,} {figure.name}, {figure.wrong:,} wrong{few}"


def page(figures: list[tuple[str, str, Figure]], seed: int, budget_s: float) -> str:
    """docs/trust.md."""
    today = datetime.datetime.now(tz=datetime.UTC).date()
    lines = [
        "# Why kdiag may be believed",
        "",
        "Written by `make proof`, which prints the same figures and fails unless all of them hold.",
        "",
        f"{today}, Linux {platform.release().split('-')[0]} on {platform.machine()}, {os.cpu_count()} processors, "
        f"Python {platform.python_version()}; seed {seed}, {budget_s:.0f} s.",
    ]
    for number, (title, about, figure) in enumerate(figures, 1):
        lines += ["", f"## {number}. {title}", "", about, "", f"**{headline(title, figure)}.**", ""]
        lines += [f"* {text}" for text in figure.details]
        if figure.complaints:
            lines += ["", "Wrong:", "", *(f"* `{text.splitlines()[0][:300]}`" for text in figure.complaints[:20])]
    known = ROOT / "tests" / "proof" / "found.md"
    if known.exists():
        lines += ["", known.read_text(encoding="utf-8").rstrip()]
    text = "\n".join(lines) + "\n"
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text


def main() -> int:
    """All parts."""
    budget_s = float(os.environ.get("KDIAG_PROOF_BUDGET_S", "1500"))
    seed = int(os.environ.get("KDIAG_PROOF_SEED", "1"))
    figures = []
    for module, share, title, about in PARTS:
        figure = figure_of(module, budget_s * share, seed)
        figures.append((title, about, figure))
        print(headline(title, figure), flush=True)
        for text in figure.details:
            print(f"  {text}", flush=True)
        for text in figure.complaints:
            print(f"  WRONG {text}", file=sys.stderr, flush=True)
    PAGE.write_text(page(figures, seed, budget_s), encoding="utf-8")
    return 0 if all(figure.holds for _, _, figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
