"""kdiag tells whether every Service address works on every node of a Kubernetes cluster, and if not, why."""

__version__ = "0.1.0"
