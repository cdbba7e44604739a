"""Which release of kube-proxy a node shows."""

from __future__ import annotations

from kdiag.model.proxy import Version
from kdiag.model.view import NodeView

ASSUMED = "(assumed)"
"""How NodeView.version_source ends where nothing shows the release and the API server's stands in."""


def seen_release(node: NodeView) -> Version | None:
    """The minor release that something shows; None where it is only assumed. A proxy may be three minors older."""
    return None if node.version_source.endswith(ASSUMED) else node.version
