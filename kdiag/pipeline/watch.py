"""The same look again and again: what changes from one to the next."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from kdiag.errors import KdiagError
from kdiag.model.change import Change
from kdiag.model.report import Report
from kdiag.pipeline.diff import compare_reports


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One run. `change` is None if it failed, with `failure` saying why; the first one is compared with nothing."""

    number: int
    at: datetime
    change: Change | None = None
    failure: str = ""


def watch_looks(
    look: Callable[[], Report],
    *,
    interval_s: float,
    count: int | None,
    now: Callable[[], datetime],
    wait: Callable[[float], None],
) -> Iterator[Look]:
    """Looks every `interval_s` seconds, from start to start, `count` times or for ever.

    The first look raises what it raises: settings that cannot work would never. A later one that fails is told, and the
    next is compared with the last that worked.
    """
    last: Report | None = None
    number = 0
    started = now()
    while count is None or number < count:
        if number:
            wait(max(0.0, interval_s - (now() - started).total_seconds()))
            gc.collect()
        number += 1
        started = now()
        try:
            report = look()
        except KdiagError as error:
            if last is None:
                raise
            yield Look(number=number, at=started, failure=error.message)
            continue
        yield Look(number=number, at=started, change=compare_reports(last or _nothing(report), report))
        last = report


def _nothing(report: Report) -> Report:
    """The same cluster with nothing found yet."""
    return Report(
        cluster=report.cluster,
        kdiag_version=report.kdiag_version,
        server_version=None,
        taken_at=None,
        nodes_known=0,
        nodes_judged=0,
        services_judged=0,
        frontends_judged=0,
        findings=(),
        gaps=(),
    )
