"""What the load generator can do on this machine, found out before a run relies on it."""

import subprocess
import sys

from pydantic import BaseModel, ValidationError

from lab.errors import LabError
from lab.paths import CHECKOUT

LIMIT = 60.0
"""Seconds in which a calibration ends: it takes about six."""


class Level(BaseModel, frozen=True):
    """A rate that was tried, in requests per second, and the 99th percentile of its dispatch lag in seconds."""

    rate: float
    p99: float


class Calibration(BaseModel, frozen=True):
    """What one generator can do against a service that does nothing.

    Attributes:
        rate: The highest rate tried whose requests started on time, in requests per second; 0 when none was.
        max_lag: Seconds by which the 99th percentile of requests may start late.
        levels: Every rate tried.
    """

    rate: float
    max_lag: float
    levels: tuple[Level, ...]


def calibrate() -> Calibration:
    """Measure it; takes some seconds.

    Raises:
        LabError: The generator cannot be measured.
    """
    command = [sys.executable, "-m", "loadtests.calibration"]
    try:
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=LIMIT, check=True)  # noqa: S603 - our own
        return Calibration.model_validate_json(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise LabError(f"The load generator's calibration took more than {LIMIT:g} s: stop other work here.") from error
    except (subprocess.CalledProcessError, ValidationError) as error:
        said = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
        last = (said.strip().splitlines() or ["it said nothing"])[-1]
        raise LabError(f"The load generator cannot be calibrated ({last}); run `make setup`.") from error
