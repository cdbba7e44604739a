"""`kdiag preflight`: everything."""

from __future__ import annotations

from kdiag.cli.command import Command
from kdiag.cli.judge import judging

COMMAND = Command(
    slug="preflight",
    summary="Run all checks.",
    details=(
        "Judges every Service address on every node, the address ranges, the Services with their endpoints, and the "
        "health of nodes and proxies."
    ),
    function=judging(""),
)
