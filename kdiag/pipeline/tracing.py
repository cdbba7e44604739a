"""placeholder"""

from __future__ import annotations

from kdiag.model.trace import Trace, TraceTarget
from kdiag.model.view import View


def follow(view: View, target: TraceTarget) -> Trace:
    raise NotImplementedError
