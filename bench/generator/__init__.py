"""Clusters of any size, made up: what their API says and what kube-proxy leaves on their nodes."""
