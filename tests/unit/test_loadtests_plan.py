"""The settings of a load test, and where it may be sent."""

import json

import pytest

from loadtests.plan import ANYWHERE, LoadSettings, LoadTestError, target


def test_the_defaults_are_a_load_test() -> None:
    """Without any option there is a schedule and a valid order."""
    settings = LoadSettings.read({"host": "not one of the settings"})
    assert settings.arrivals()
    assert settings.path == "/order"
    assert json.loads(settings.body()) == {"item": "burger", "quantity": 1}


def test_bulk_orders_go_to_their_own_path() -> None:
    """A bulk request carries its count."""
    settings = LoadSettings(bulk=10_000)
    assert settings.path == "/orders/bulk"
    assert json.loads(settings.body()) == {"item": "burger", "quantity": 1, "count": 10_000}
    assert settings.orders_each == 10_000


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"rate": -1.0}, "--rate -1.0: "),
        ({"max_in_flight": 0}, "--max-in-flight 0: "),
        ({"rate": 20_000.0, "duration": 3600.0}, "72,000,000 requests"),
        ({"schedule": "burst", "burst_at": 29.0}, "within the duration"),
        ({"schedule": "sudden"}, "--schedule sudden: "),
    ],
)
def test_a_wrong_option_is_one_sentence(options: dict[str, object], sentence: str) -> None:
    """A value out of range is refused by the option's name."""
    with pytest.raises(LoadTestError, match=sentence) as refusal:
        LoadSettings.read(options)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost:8000", "http://[::1]:8000"])
def test_loopback_may_be_loaded(url: str) -> None:
    """This machine's own addresses are targets."""
    assert target(url).port == 8000


@pytest.mark.parametrize("url", ["http://192.0.2.1:8000", "http://10.0.0.5"])
def test_others_are_left_alone_unless_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address beyond loopback is refused, and the sentence names the variable that allows it."""
    monkeypatch.delenv(ANYWHERE, raising=False)
    with pytest.raises(LoadTestError, match=f"{ANYWHERE}=1"):
        target(url)
    monkeypatch.setenv(ANYWHERE, "1")
    assert target(url).hostname


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://127.0.0.1", "http://127.0.0.1:http", "http://"])
def test_what_is_no_address_is_refused(url: str) -> None:
    """A malformed address is one sentence, not a traceback."""
    with pytest.raises(LoadTestError, match="is not an address"):
        target(url)


def test_phases_replace_rate_and_duration() -> None:
    """Stretches of seconds and rates follow each other, a pause included, to the request."""
    settings = LoadSettings.read({"phases": "2:10,3:0,0.5:40", "schedule": "constant"})
    due = settings.arrivals()
    assert settings.seconds == 5.5
    assert due == pytest.approx([index / 10 for index in range(20)] + [5 + index / 40 for index in range(20)])


@pytest.mark.parametrize("options", [{"phases": "ten:1"}, {"phases": "1:1", "schedule": "ramp"}])
def test_wrong_phases_are_one_sentence(options: dict[str, object]) -> None:
    """Phases that cannot be read, or go with another schedule, are refused by name."""
    with pytest.raises(LoadTestError, match="--phases"):
        LoadSettings.read(options)
