"""Clusters that change while they are read: normal lag is no fault, and a proxy that stands still is one."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from kdiag.model.report import Finding, Severity
from kdiag.pipeline.flow import Scope, diagnose
from tests.proof.churn_cluster import NODES, Api, Gathered, Proxy, State, churn, follow, gather
from tests.proof.figure import Figure

WANTED = 150
WORKERS = 2
RATES = (0.1, 0.3, 1.0, 3.0, 5.0, 10.0, 20.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One simulated run. `frozen` is the node whose proxy stands still; `due` are the Services that must show it."""

    seed: str
    rate: float
    frozen: str | None
    stamps: bool
    due: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def complaints(self) -> list[str]:
        """What is wrong with the report."""
        where = f"seed {self.seed!r}, {self.rate} changes a second{'' if self.stamps else ', no managedFields'}"
        out = []
        for item in self.findings:
            named = {place.node for place in item.places} or {None}
            if named != {self.frozen}:
                out.append(f"{where}: false {item.code} {item.node} {item.service}: {item.message[:160]!r}")
        if self.due and not any(self.frozen in {place.node for place in item.places} for item in self.findings):
            out.append(f"{where}: {self.frozen} is frozen, which {self.due[0]} shows, and nothing says so")
        return out


def settled_faults(api: Api, proxy: Proxy, gathered: Gathered, settle_s: float) -> tuple[str, ...]:
    """Services whose rules on a frozen node are wrong since longer than the lag, and were left in peace meanwhile.

    One that is gone since longer is among them if the node was read twice.
    """
    begin, dumped, after = gathered.readings[0]
    shown, _ = proxy.at(dumped)
    early, late = api.at(begin), api.at(after + 0.3)
    out = []
    for name, app in late.items():
        still = max(app.stamp_s, app.spec_s, app.made_s) < dumped - settle_s - 2 and early.get(name) == app
        if still and _differs(shown, app.name, late):
            out.append(name)
    if len(gathered.readings) > 1:
        since = dumped - settle_s - 2
        there = {name for state in (api.at(since), *api.between(since, gathered.readings[1][2])) for name in state}
        out += [name for name in shown if name not in there]
    return tuple(out)


def _differs(shown: State, name: str, wanted: State) -> bool:
    real, ought = shown.get(name), wanted[name]
    if real is None:
        return True
    return set(real.endpoints) != set(ought.endpoints) or (ought.node_port != 0 and real.node_port != ought.node_port)


def simulate(seed: str) -> Run:
    """One run: what changes, how the proxies lag and when kdiag looks all come from the seed."""
    random = Random(seed)
    rate = random.choice(RATES)
    begin_s = random.uniform(60, 120)
    settle_s = random.choice((30.0, 30.0, 10.0))
    end_s = begin_s + 2 * (settle_s + 8) + 20
    api = churn(random, apps=random.randint(6, 20), rate=rate, end_s=end_s)
    frozen = random.choice(NODES) if random.random() < 0.5 else None
    period_s = random.choice((1.0, 1.0, 0.5))
    frozen_s = begin_s - random.uniform(5, 55)
    proxies = {
        node: follow(random, api, end_s=end_s, period_s=period_s, frozen_s=frozen_s if node == frozen else None)
        for node in NODES
    }
    stamps = random.random() < 0.6  # without managedFields: before Kubernetes 1.18
    leases = random.random() < 0.8
    retries = random.choice((0, 2))
    gathered = gather(
        random, api, proxies, begin_s=begin_s, settle_s=settle_s, retries=retries, stamps=stamps, leases=leases
    )
    report = diagnose(gathered.snapshot, Scope(settle_s=settle_s, select=("KD2", "KD4")))
    return Run(
        seed=seed,
        rate=rate,
        frozen=frozen,
        stamps=stamps,
        due=settled_faults(api, proxies[frozen], gathered, settle_s) if frozen else (),
        findings=tuple(item for item in report.findings if item.severity is not Severity.INFO),
    )


def _seeds(budget_s: float, seed: int) -> Iterator[str]:
    """A seed for each run, as long as there is time."""
    end = time.monotonic() + budget_s
    number = 0
    while not number or time.monotonic() < end:
        yield f"{seed}/{number}"
        number += 1


def _work(given: tuple[float, int, int]) -> list[Run]:
    budget_s, seed, worker = given
    return [simulate(f"{item}/{worker}") for item in _seeds(budget_s, seed)]


def run(budget_s: float, seed: int) -> Figure:
    """As many runs as there is time for, on two processors."""
    with multiprocessing.get_context("fork").Pool(WORKERS) as pool:
        done = pool.map(_work, [(budget_s, seed, worker) for worker in range(WORKERS)], chunksize=1)
    runs = [item for part in done for item in part]
    frozen = [item for item in runs if item.frozen]
    complaints = [text for item in runs for text in item.complaints]
    return Figure(
        name="runs of a cluster that changes while it is read",
        tried=len(runs),
        wrong=sum(1 for item in runs if item.complaints),
        wanted=WANTED,
        details=(
            f"{len(runs) - len(frozen)} runs with proxies that keep up, {len(frozen)} with a frozen one, "
            f"of which {sum(1 for item in frozen if item.due)} had a settled Service to show it and "
            f"{sum(1 for item in frozen if item.findings)} were reported",
            f"{sum(1 for item in runs if not item.stamps)} runs without managedFields (before Kubernetes 1.18)",
            "simulated in iptables mode; not simulated: a Service that is deleted and made again under one fixed address "
            "every few seconds, which each reading of the API would have to miss and each of the node to meet",
            *(f"{rate:g} changes a second: {sum(1 for item in runs if item.rate == rate)} runs" for rate in RATES),
        ),
        complaints=tuple(complaints),
    )
