"""`kdiag check-cidrs`: the family KD1."""

from __future__ import annotations

from kdiag.cli.command import Command
from kdiag.cli.judge import judging
from kdiag.cli.live import LIVE

COMMAND = Command(
    slug="check-cidrs",
    summary="Check the address ranges of pods, Services and nodes.",
    details=(
        "Do the ranges overlap, do the components agree on them, does every address lie in its range, is there room left? "
        "Runs the checks KD1xx."
    ),
    function=judging("KD1"),
    groups=LIVE,
    examples=(
        ("check-cidrs --demo", "the ranges of the recorded cluster, drawn to scale"),
        ("check-cidrs --reserved 10.0.0.0/12", "does the cluster overlap a range that your network uses elsewhere?"),
        ("check-cidrs --no-nodes -o svg=ranges.svg", "draw what the API alone tells"),
    ),
)
