"""What runs beside pricelink: Prometheus, Alertmanager, Grafana."""
