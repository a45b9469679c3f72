"""Manifests of Kubernetes, built by ``ops.kubernetes.build``."""
