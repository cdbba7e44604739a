"""`kdiag check-endpoints`: the family KD3."""

from __future__ import annotations

from kdiag.cli.command import Command
from kdiag.cli.judge import judging
from kdiag.cli.live import LIVE

COMMAND = Command(
    slug="check-endpoints",
    summary="Check Services, their selectors, ports and endpoints.",
    details=(
        "Is there anything behind every Service, and do its endpoints agree with the pods? Needs nothing but the API's "
        "answers. Runs the checks KD3xx."
    ),
    function=judging("KD3"),
    groups=LIVE,
    examples=(
        ("check-endpoints --demo", "the Services of the recorded cluster"),
        ("check-endpoints -n shop", "those of one namespace; needs nothing but the API"),
        ("check-endpoints --fail-on warning -o junit=endpoints.xml", "as a gate in CI"),
    ),
)
