"""What load generators count, how it adds up, and when a run says nothing."""

import json

import pytest

from loadtests.plan import LoadSettings
from loadtests.tally import Tally, fault, quantile, quantiles, summary


def counted(latencies: list[float], *, lag: float = 0.0, failure: str | None = None) -> Tally:
    """A tally of requests with these latencies, that all started `lag` seconds late and ended alike."""
    tally = Tally()
    for latency in latencies:
        tally.start(lag)
        tally.end(latency, failure, now=1000.0 + latency)
    return tally


def test_quantiles_are_those_of_the_sorted_list() -> None:
    """The p-quantile is the smallest value that at least a share of p does not exceed."""
    tally = counted([number / 100 for number in range(1, 101)])
    assert quantile(tally.latencies, 0.5) == 0.5
    assert quantile(tally.latencies, 0.99) == 0.99
    assert quantiles(tally.latencies)["max"] == 1.0


def test_nothing_measured_has_no_quantiles() -> None:
    """Without a request the quantiles are None, not 0."""
    assert set(quantiles(Tally().latencies).values()) == {None}


def test_tallies_add_up_over_messages() -> None:
    """Two generators' tallies, sent as messages, add up to what one generator would have counted."""
    parts = [counted([0.1, 0.2]), counted([0.3], lag=0.01, failure="503")]
    parts[1].dropped = 2
    total = Tally()
    for part in parts:
        total.add(Tally.from_message(json.loads(json.dumps(part.to_message()))))
    assert (total.sent, total.ok, total.dropped, total.failed) == (3, 2, 2, {"503": 1})
    assert total.latencies == {0.1: 1, 0.2: 1, 0.3: 1}
    assert total.accepted == {0.1: 1, 0.2: 1}
    assert total.lags == {0.0: 2, 0.01: 1}
    assert total.ended_at == 1000.3


def test_a_kept_schedule_is_valid() -> None:
    """Slow answers and failures are the service's: the run stays valid."""
    assert fault(counted([9.0] * 10, failure="timeout"), LoadSettings(), planned=10, missing=0) is None


@pytest.mark.parametrize(
    ("tally", "planned", "missing", "reason"),
    [
        (counted([0.1] * 10), 10, 1, "did not report"),
        (Tally(sent=8, dropped=2), 10, 0, "2 requests were not sent"),
        (counted([0.1] * 9), 10, 0, "stopped after 9 of 10"),
        (counted([0.1] * 10, lag=0.2), 10, 0, "could not keep its schedule"),
    ],
)
def test_a_generator_that_failed_makes_the_run_invalid(tally: Tally, planned: int, missing: int, reason: str) -> None:
    """What the generator did not do as planned is named, in one sentence."""
    sentence = fault(tally, LoadSettings(), planned=planned, missing=missing)
    assert sentence is not None
    assert reason in sentence


def test_the_summary_is_json_and_counts_orders() -> None:
    """A bulk request that was accepted counts with all of its orders; the settings are in the summary."""
    result = summary(
        counted([0.5, 0.7]),
        LoadSettings(bulk=100, seed=4),
        model="streaming",
        host="http://127.0.0.1:8020",
        planned=2,
        generators=1,
        missing=0,
        started_at=999.0,
    )
    again = json.loads(json.dumps(result))
    assert again["orders_accepted"] == 200
    assert (again["valid"], again["reason"]) == (True, None)
    assert again["settings"]["seed"] == 4
    assert again["ended_at"] == 1000.7
