"""Fixtures of the tests of live gathering."""

from __future__ import annotations

from tests.live.fixtures import authority, bare_environment, double, nodes

__all__ = ["authority", "bare_environment", "double", "nodes"]
