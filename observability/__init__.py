"""What watches the lab: Prometheus, Grafana and Jaeger files, and what generates them."""
