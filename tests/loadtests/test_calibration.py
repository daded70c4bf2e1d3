"""What the generator can do is measured against a service that does nothing."""

import json
import subprocess
import sys

from lab.paths import CHECKOUT
from tests.loadtests.fake_service import FakeService

NEVER = 20_000
"""Requests per second that no single generator starts on time."""


def test_a_rate_that_is_not_kept_ends_the_calibration() -> None:
    """Of 50 and 20,000 requests a second the first is kept; what is above the second is not tried."""
    with FakeService() as service:
        ask = f"print(json.dumps(calibrate({service.url!r}, (50, {NEVER}, {NEVER}), 0.3)))"
        script = f"import json; from loadtests.calibration import calibrate; {ask}"
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - our own
    found = json.loads(done.stdout)
    assert found["rate"] == 50
    assert [level["rate"] for level in found["levels"]] == [50, NEVER]
    assert found["levels"][0]["p99"] <= found["max_lag"] < found["levels"][1]["p99"]
    assert len(service.orders) >= 15
