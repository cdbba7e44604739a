"""Fixtures of the tests of live gathering."""

from __future__ import annotations

from tests.cli.conftest import kdiag
from tests.live.fixtures import authority, bare_environment, double, nodes, real_api, server

__all__ = ["authority", "bare_environment", "double", "kdiag", "nodes", "real_api", "server"]
