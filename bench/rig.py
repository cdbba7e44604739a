"""What the entries share: where made-up clusters lie, how large they are, how often things are measured."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bench.generator.cluster import Options
from bench.generator.snapshot import PLANTED
from bench.measure import PYTHON, Cost, Gate, run


@dataclass(slots=True)
class Rig:
    """`scale` is the share of the full sizes, for a quick try; `rounds` is for what takes long, `many` for what does not."""

    directory: Path
    scale: float = 1.0
    rounds: int = 3
    many: int = 9

    def size(self, full: int) -> int:
        """A number of Services or nodes at this scale."""
        return max(10, round(full * self.scale))

    def cluster(self, name: str, options: Options) -> Path:
        """The snapshot of a made-up cluster, made by a process of its own: this one must stay small."""
        place = self.directory / name
        if not place.exists():
            given = [f"--{item.name.replace('_', '-')}={getattr(options, item.name)}" for item in fields(Options)]
            subprocess.run(
                [PYTHON, "-m", "bench.generate", *given, "--out", str(place)], check=True, stdout=subprocess.DEVNULL
            )
        return place

    def forget(self, name: str) -> None:
        """Makes room: a cluster at full size takes a gigabyte."""
        shutil.rmtree(self.directory / name, ignore_errors=True)


def kdiag(*arguments: str, keep: bool = False) -> Cost:
    """`kdiag` with these arguments as a process."""
    return run([PYTHON, "-m", "kdiag", *arguments], keep=keep)


def missing(*programs: str) -> str | None:
    """What is not there, None if nothing is."""
    places = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/bin:/usr/local/sbin"
    absent = [
        program for program in programs if shutil.which(program) is None and not shutil.which(program, path=places)
    ]
    return ", ".join(absent) or None


def wrong_services(snapshot: Path) -> set[tuple[str, str]]:
    """(node, Service) of what is wrong in a made-up cluster."""
    stated: dict[str, Any] = json.loads((snapshot / PLANTED).read_text())
    return {(item["node"], item["service"]) for item in stated["wrong"]}


def accused_services(report: str) -> set[tuple[str, str]]:
    """(node, Service) of all findings at warning or above in a report in JSON."""
    accused: set[tuple[str, str]] = set()
    for finding in json.loads(report)["findings"]:
        if finding["severity"] in ("error", "warning"):
            named = [(item["node"], item["service"]) for item in finding["affected"] if item["service"]]
            accused.update(named or [(finding["node"], finding["service"])])
    return accused


def planted_gate(snapshot: Path, report: str, nodes: set[str] | None = None) -> Gate:
    """Whether just the planted Services were found, of these nodes (None: of all)."""
    wanted = {item for item in wrong_services(snapshot) if nodes is None or item[0] in nodes}
    try:
        found = accused_services(report)
    except (ValueError, KeyError) as error:
        return Gate(name="planted Services found", holds=False, detail=f"no report: {type(error).__name__}")
    detail = f"{len(wanted & found)} of {len(wanted)}, {len(found - wanted)} others"
    return Gate(name="planted Services found", holds=found == wanted, detail=detail)
