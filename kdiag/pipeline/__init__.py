"""The flow of kdiag on one page: snapshot → view → checks → report, and snapshot → trace."""

from kdiag.pipeline.flow import Scope, collect_settings, diagnose, open_snapshot, trace

__all__ = [
    "Scope",
    "collect_settings",
    "diagnose",
    "open_snapshot",
    "trace",
]
