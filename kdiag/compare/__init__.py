"""Expected and actual data plane of a node, compared: ordered differences, grouped by what brought them about."""

from kdiag.compare.comparison import compare

__all__ = ["compare"]
