"""A real example for every code: what kdiag prints about a recorded cluster with that fault in it (kdiag/checks/examples)."""
