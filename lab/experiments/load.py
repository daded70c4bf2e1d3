"""The load of an experiment: one Locust process per model, all on one schedule from one start."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.paths import CHECKOUT
from lab.stack import Model
from lab.waiting import wait_until

READY_LIMIT = 60.0
"""Seconds in which every generator is ready: Locust takes 2 to 4 s to start, more when three do on a busy machine."""

LEAD = 1.0
"""Seconds from the last generator being ready to the first arrival."""

LATE_MAX = 0.5
"""Seconds by which the 99th percentile of requests may start late: the generators share the machine with the stack."""


@dataclass(slots=True)
class Load:
    """Running load generators.

    Attributes:
        starts_at: When the schedule begins, in Unix seconds.
    """

    starts_at: float
    _running: dict[Model, subprocess.Popen[bytes]]
    _folder: Path

    @classmethod
    def begin(
        cls,
        stretches: Sequence[tuple[float, float]],
        schedule: str,
        models: Sequence[Model],
        seed: int,
        folder: Path,
        *,
        late_max: float = LATE_MAX,
    ) -> "Load":
        """Start the generators and wait until all are ready; nothing arrives before `starts_at`.

        Args:
            stretches: Seconds and orders per second of each stretch of the schedule.
            schedule: How arrivals lie within a stretch: constant or poisson.
            models: Who gets load, each the same.
            seed: Of the arrival times.
            late_max: Seconds by which the 99th percentile of requests may start late.
            folder: Where Locust's CSV files, summaries and logs go, one set per model.

        Raises:
            LabError: A generator did not start.
        """
        start = folder / "start"
        options = {
            "--schedule": schedule,
            "--phases": ",".join(f"{seconds:g}:{rate:g}" for seconds, rate in stretches),
            "--seed": str(seed),
            "--start-file": str(start),
            "--restock": "0",
            "--max-lag": f"{late_max:g}",
        }
        load = cls(0.0, {model: _generator(model, options, folder) for model in models}, folder)
        try:
            wait_until(lambda: load._unready(start), limit=READY_LIMIT, what="The load's start", interval=0.1)
        except LabError:
            load.stop()
            raise
        load.starts_at = time.time() + LEAD
        # Renamed into place, so that no generator reads half a number.
        start.with_suffix(".new").write_text(f"{load.starts_at:.3f}")
        start.with_suffix(".new").rename(start)
        return load

    def _unready(self, start: Path) -> str | None:
        for model, process in self._running.items():
            if process.poll() is not None:
                raise LabError(f"The load of {model} failed; see {self._log(model)}.")
            if not start.with_name(f"{start.name}.{model}").exists():
                return f"{model} is not ready"
        return None

    def end(self, *, limit: float = 45.0) -> dict[str, dict[str, Any]]:
        """Wait for the generators' end and return their summaries by model.

        Raises:
            LabError: A generator failed.
        """
        summaries: dict[str, dict[str, Any]] = {}
        for model, process in self._running.items():
            try:
                process.wait(limit)
            except subprocess.TimeoutExpired as error:
                raise LabError(f"The load of {model} did not end in time; see {self._log(model)}.") from error
            try:
                summaries[model] = json.loads((self._folder / f"{model}.json").read_text())
            except (OSError, ValueError) as error:
                raise LabError(f"The load of {model} failed; see {self._log(model)}.") from error
        return summaries

    def stop(self) -> None:
        """End generators that still run."""
        for process in self._running.values():
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()

    def _log(self, model: str) -> Path:
        return self._folder / f"{model}.log"


def _generator(model: Model, options: dict[str, str], folder: Path) -> subprocess.Popen[bytes]:
    files = {
        "--locustfile": f"loadtests/{model}.py",
        "--summary": str(folder / f"{model}.json"),
        "--csv": str(folder / model),
    }
    command = [sys.executable, "-m", "locust", "--headless", "--skip-log-setup"]
    with (folder / f"{model}.log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - our own interpreter and files
            [*command, *(part for option in (files | options).items() for part in option)],
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
