"""Grafana dashboards as code: what they show is in ``panels`` and its neighbours, how it becomes JSON in ``build``."""
