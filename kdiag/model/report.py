"""What kdiag says: findings, gaps, and the report that holds them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING

from msgspec import Struct, field

if TYPE_CHECKING:
    from kdiag.model.baseline import BaselineUse
    from kdiag.model.overview import AddressRanges, Overview


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


class Gap(Struct, frozen=True, kw_only=True, order=True):
    """Something that was not examined. `subject` names it, `reason` says why and what would mend it."""

    node: str | None = None
    subject: str
    reason: str
    kind: GapKind = GapKind.FAILED


class Evidence(Struct, frozen=True, kw_only=True, order=True):
    """One line of the snapshot. `source` is the path inside the snapshot, `line` is 1-based (0: the whole file)."""

    source: str
    line: int = 0
    text: str = ""


class Affected(Struct, frozen=True, kw_only=True, order=True):
    """One place that a finding's cause shows at. `service` is `namespace/name`, `port` is `80/TCP`."""

    node: str | None = None
    service: str | None = None
    port: str | None = None


class Acceptance(Struct, frozen=True, kw_only=True):
    """What a baseline says of a finding: who lives with it, why, and until when.

    `expires` is the last day (UTC) on which it holds; `expired` is True after that, and the finding counts again.
    """

    reason: str
    owner: str
    expires: date
    expired: bool = False


class Finding(Struct, frozen=True, kw_only=True):
    """One cause, with where it shows and the lines that prove it.

    `frontend` is the address that clients use (`10.96.0.10:53/UDP`); `expected` and `actual` are short
    phrases that can be set side by side; `message` is whole sentences and may have several lines. `acceptance` is what
    a baseline says of it, None without one.
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
    acceptance: Acceptance | None = None

    @property
    def places(self) -> tuple[Affected, ...]:
        """Where it shows: what it affects, else its own place. A whole node that is at fault is a place beside these."""
        own = Affected(node=self.node, service=self.service, port=self.port)
        if not self.affected:
            return (own,) if own != Affected() else ()
        shown = tuple(
            Affected(node=item.node or self.node, service=item.service, port=item.port) for item in self.affected
        )
        whole_node = self.node is not None and self.service is None
        return tuple(dict.fromkeys((own, *shown) if whole_node else shown))

    @property
    def accepted(self) -> bool:
        """Whether it is known and accepted today: then it is shown, and counts for nothing."""
        return self.acceptance is not None and not self.acceptance.expired


class Report(Struct, frozen=True, kw_only=True):
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
    address_ranges: AddressRanges | None = None
    """The ranges of the cluster, where a map of them was asked for."""
    overview: Overview | None = None
    """The cluster beside the findings, where a format asked for it: it is not for free."""
    baseline: BaselineUse | None = None

    @property
    def counting(self) -> tuple[Finding, ...]:
        """The findings that nobody has accepted, in their order."""
        return tuple(finding for finding in self.findings if not finding.accepted)

    @property
    def accepted(self) -> tuple[Finding, ...]:
        """The findings that the baseline accepts, in their order."""
        return tuple(finding for finding in self.findings if finding.accepted)

    def count(self, severity: Severity) -> int:
        """How many findings have just this severity; accepted ones do not count."""
        return sum(1 for finding in self.counting if finding.severity is severity)
