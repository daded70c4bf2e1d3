"""The command line of the lab: runtimes, experiments, PromQL."""
