"""Grafana's dashboards as Python; `python -m observability.dashboards` writes the JSON that Grafana loads."""
