"""Frozen values that flow through kdiag. Nothing here reads, prints or decides."""
