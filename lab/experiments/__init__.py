"""Experiments: questions about the three models, answered by Prometheus, each with a control in which it must fail."""
