"""One lab for all tests of this package: starting nodes takes longer than asking them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.conftest import kdiag
from tests.lab.nodes import RECORDED_NETWORK, Lab, LabError, LabNode, why_not
from tests.lab.readme import readme_sudoers
from tests.live import real_api as real_api_module
from tests.live.real_api import RealApi

__all__ = ["kdiag", "lab", "real_api", "recorded_nodes"]

RECORDED_NODES = {"controlplane": 10, "node01": 11, "node02": 12}


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    try:
        made = Lab(tmp_path_factory.mktemp("lab")).__enter__()
    except LabError as error:
        pytest.skip(f"the lab cannot be made here: {error}")
    try:
        yield made
    finally:
        made.__exit__()


@pytest.fixture(scope="package")
def recorded_nodes(lab: Lab) -> list[LabNode]:
    """The three nodes of the recorded clusters, at their addresses, for a user with the README's lines in sudoers.

    Their rules are left to each test.
    """
    return [
        lab.start(node, rules="", sudoers=readme_sudoers(), address=f"{RECORDED_NETWORK}.{number}")
        for node, number in RECORDED_NODES.items()
    ]


@pytest.fixture(scope="package")
def real_api(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealApi]:
    """A real API server that the nodes of the lab can reach."""
    reason = real_api_module.why_not()
    if reason is not None:
        pytest.skip(reason)
    with RealApi(tmp_path_factory.mktemp("real-api"), address=f"{RECORDED_NETWORK}.1") as started:
        yield started
