"""The series that a run keeps are there to be had: their PromQL, asked of the Prometheus that scrapes the stack."""

from lab.experiments.samples import SERIES, sample
from lab.http import post
from lab.prometheus import of_stack
from lab.runtime.base import Runtime
from lab.stack import MODELS

LATENCY_NEEDS_RATE = {"accept_p50", "accept_p95", "completion_p95"}


def test_an_order_and_a_fault_are_seen_in_the_samples(stack: Runtime) -> None:
    """After one order a model under a fault, every series and every distribution of accepted orders has points."""
    prometheus = of_stack()
    start = prometheus.now()
    post("async-notification", "/admin/delay", {"seconds": 0.01})
    try:
        for model in MODELS:
            post(f"{model}-inventory", "/admin/restock", {"quantity": 100})
            post(f"{model}-order", "/order", {"item": "burger", "quantity": 1})
        prometheus.until(
            'sum(campus_fault_active{service="async-notification"})',
            limit=15,
            what="The fault in Prometheus",
            holds=lambda value: value > 0,
        )
        found = sample(prometheus, start, prometheus.now(), MODELS)
    finally:
        post("async-notification", "/admin/reset", {})
    points = {(one["name"], one["model"]) for one in found["series"]}
    steady = {one.name for one in SERIES if one.per_model} - LATENCY_NEEDS_RATE
    assert points >= {(name, model) for name in steady for model in MODELS}
    assert points >= {("queue", None), ("lag", None), ("fault", None)}
    accepted = {one["model"]: one["buckets"][-1][1] for one in found["distributions"] if one["name"] == "accept"}
    assert accepted == dict.fromkeys(MODELS, 1)
