"""Prometheus' configuration, from the list of what is to be scraped."""

from collections.abc import Mapping

HEAD = """\
# Generated from lab/stack.toml at each start; edit that file, not this one.
global:
  scrape_interval: 1s
  scrape_timeout: 1s
  evaluation_interval: 1s
rule_files:
  - "{rules}"
scrape_configs:
"""
JOB = """\
  - job_name: {job}
    static_configs:
      - targets: ["{target}"]
"""


def render(targets: Mapping[str, str], *, rules: str) -> str:
    """The text of prometheus.yml.

    Args:
        targets: `host:port` by job; a job is named by what it scrapes.
        rules: Glob of the rule files as Prometheus sees it; it may match none.
    """
    return HEAD.format(rules=rules) + "".join(JOB.format(job=j, target=t) for j, t in targets.items())
