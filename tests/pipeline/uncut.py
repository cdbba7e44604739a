"""What comes of dumps that are read to the end, whatever their size: every address is judged by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kdiag.model.report import Report
from kdiag.model.snapshot import Snapshot
from kdiag.pipeline.flow import Scope, diagnose
from kdiag.planes import rulesets

CLUSTERS = (
    "v1.20.2-iptables-legacy",
    "v1.30.3-iptables-nft-masqall",
    "v1.36.2-iptables-nft",
    "dual-v1.36.2-iptables-nft",
)
NODE = "node01"


@contextmanager
def uncut() -> Iterator[None]:
    """No dump counts as large."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rulesets, "LARGE_BYTES", 1 << 60)
        yield


def one_by_one(snapshot: Snapshot, *nodes: str) -> Report:
    """The report on these nodes (none named: on all)."""
    with uncut():
        return diagnose(snapshot, Scope(nodes=nodes))
