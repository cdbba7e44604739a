"""What kdiag says: findings, gaps, and the report that holds them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


class Severity(enum.StrEnum):
    """How bad a finding is: `error` breaks traffic now, `warning` some of it or soon, `info` is worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 for the worst, growing with harmlessness; sorts findings and answers `--fail-on`."""
        return (Severity.ERROR, Severity.WARNING, Severity.INFO).index(self)


class GapKind(enum.StrEnum):
    """Why something was not seen.

    `failed`: it was wanted and could not be had (this alone counts for exit code 3); `not-applicable`: there
    is nothing to see; `not-asked`: the user left it out.
    """

    FAILED = "failed"
    NOT_APPLICABLE = "not-applicable"
    NOT_ASKED = "not-asked"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Gap:
    """Something that was not examined. `subject` names it, `reason` says why and what would mend it."""

    node: str | None = None
    subject: str
    reason: str
    kind: GapKind = GapKind.FAILED


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Evidence:
    """One line of the snapshot. `source` is the path inside the snapshot, `line` is 1-based (0: the whole file)."""

    source: str
    line: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Affected:
    """One place that a finding's cause shows at. `service` is `namespace/name`, `port` is `80/TCP`."""

    node: str | None = None
    service: str | None = None
    port: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One cause, with where it shows and the lines that prove it.

    `frontend` is the address that clients use (`10.96.0.10:53/UDP`); `expected` and `actual` are short
    phrases that can be set side by side; `message` is whole sentences and may have several lines.
    """

    code: str
    slug: str
    severity: Severity
    title: str
    node: str | None = None
    service: str | None = None
    port: str | None = None
    frontend: str | None = None
    expected: str | None = None
    actual: str | None = None
    message: str = ""
    hint: str = ""
    affected: tuple[Affected, ...] = ()
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The outcome of a run: what was examined, what was found, what was not seen."""

    cluster: str
    kdiag_version: str
    server_version: str | None
    taken_at: datetime | None
    nodes_known: int
    nodes_judged: int
    services_judged: int
    frontends_judged: int
    findings: tuple[Finding, ...]
    gaps: tuple[Gap, ...]
    modes: Mapping[str, str] = field(default_factory=dict)
    """Node name to proxy mode, for the nodes whose mode is known."""

    def count(self, severity: Severity) -> int:
        """How many findings have just this severity."""
        return sum(1 for finding in self.findings if finding.severity is severity)
