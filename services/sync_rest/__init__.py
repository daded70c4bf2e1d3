"""The order flow over synchronous REST."""
