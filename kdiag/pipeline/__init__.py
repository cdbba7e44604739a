"""The flow of kdiag on one page: snapshot → view → checks → report, and snapshot → trace."""

from kdiag.pipeline.baseline import apply_baseline, read_baseline
from kdiag.pipeline.flow import Scope, collect_settings, diagnose, open_snapshot, trace

__all__ = [
    "Scope",
    "apply_baseline",
    "collect_settings",
    "diagnose",
    "open_snapshot",
    "read_baseline",
    "trace",
]
