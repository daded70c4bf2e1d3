"""The experiments' outcomes, asserted from Prometheus."""
