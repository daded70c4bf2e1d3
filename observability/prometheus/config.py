"""Prometheus' configuration, from the list of what is to be scraped.

`python -m observability.prometheus.config` writes the one that compose mounts; the native runtime renders its own at
each start.
"""

from collections.abc import Mapping
from pathlib import Path

from lab.stack import Stack, stack

COMPOSE_FILE = Path(__file__).with_name("compose.yml")
HEAD = """\
# Generated from lab/stack.toml; edit that file, not this one.
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


def in_compose(stack: Stack) -> str:
    """The text of prometheus.yml where each part is a host of its own name."""
    targets = {service.name: f"{service.name}:{service.metrics_port}" for service in stack.services}
    targets |= {tool.name: f"{tool.name}:{tool.port}" for tool in stack.tools}
    targets["rabbitmq"] = f"rabbitmq:{stack.ports['rabbitmq-metrics']}"
    targets["prometheus"] = f"localhost:{stack.ports['prometheus']}"
    return render(targets, rules="/etc/prometheus/rules/*.yml")


if __name__ == "__main__":
    COMPOSE_FILE.write_text(in_compose(stack()))
