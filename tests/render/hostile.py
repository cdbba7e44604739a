"""Reports in which every text was chosen by somebody who wants to break out of the format."""

from __future__ import annotations

from datetime import date

from msgspec.structs import replace

from kdiag.model.baseline import BaselineEntry, BaselineKey, BaselineUse
from kdiag.model.report import Acceptance, Affected, Evidence, Finding, Gap, GapKind, Report, Severity
from tests.render.samples import REPORT, STALE

EVIL = (
    "]]><x y='\"'/>&amp;\x1b[2J\u202e\ud800\u200b\x00"
    "\n::error title=a,b:c%0A::no\r\n::stop-commands::t\n##[error]x"
    "|`code` ```\n<img src=x onerror=alert(1)> </details> <!-- "
    "![i](http://evil/i) [l](http://evil/l) @someone #1 GH-2 :tada: http://evil www.evil.org {0}\\"
)


def poisoned(severity: Severity) -> Finding:
    return Finding(
        code="KD204",
        slug="stale-endpoint",
        severity=severity,
        title=EVIL,
        node=EVIL,
        service=EVIL,
        port=EVIL,
        frontend=EVIL,
        expected=EVIL,
        actual=EVIL,
        message=EVIL,
        hint=EVIL,
        affected=(Affected(node=EVIL, service="default/web", port=EVIL),),
        evidence=(Evidence(source=EVIL, line=3, text=EVIL), Evidence(source="a b/ä:c.txt")),
    )


ACCEPTANCE = Acceptance(reason="known since March", owner="team-net", expires=date(2027, 1, 31))
EXPIRED = replace(ACCEPTANCE, expires=date(2026, 1, 31), expired=True)
UNNEEDED = BaselineEntry(
    key=BaselineKey(code="KD301", service="default/old"),
    reason="gone",
    owner="team-net",
    expires=date(2027, 1, 31),
    line=7,
)
POISONED = replace(
    REPORT,
    cluster=EVIL,
    server_version=EVIL,
    kdiag_version="0.1.0",
    modes={"node01": EVIL},
    findings=(
        poisoned(Severity.ERROR),
        poisoned(Severity.WARNING),
        poisoned(Severity.INFO),
        replace(poisoned(Severity.ERROR), acceptance=replace(ACCEPTANCE, reason=EVIL, owner=EVIL)),
        replace(poisoned(Severity.ERROR), acceptance=replace(EXPIRED, reason=EVIL, owner=EVIL)),
    ),
    gaps=tuple(Gap(node=EVIL, subject=EVIL, reason=EVIL, kind=kind) for kind in GapKind),
    baseline=BaselineUse(
        path=EVIL, unneeded=(replace(UNNEEDED, key=BaselineKey(code="KD301", service=EVIL), reason=EVIL, owner=EVIL),)
    ),
)
ACCEPTED: Report = replace(
    REPORT,
    findings=(
        replace(STALE, acceptance=ACCEPTANCE),
        *REPORT.findings[1:2],
        replace(REPORT.findings[2], acceptance=EXPIRED),
    ),
    baseline=BaselineUse(path="kdiag-baseline.toml", unneeded=(UNNEEDED,)),
)
"""REPORT with its first finding accepted and the last one's acceptance expired."""
