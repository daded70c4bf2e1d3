"""Locust files: the load of the experiments."""
