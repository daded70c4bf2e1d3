"""What Prometheus loads: the configuration that the runtimes generate, and the alert rules beside it."""
