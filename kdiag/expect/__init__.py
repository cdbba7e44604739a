"""Kubernetes' Service semantics: API objects and a node make the data plane that a correct kube-proxy writes."""
