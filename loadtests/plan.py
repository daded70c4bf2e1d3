"""What a load test is asked to do: its settings, checked, and the addresses that it may be sent to."""

import ipaddress
import json
import os
import socket
from typing import Any
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, Field, ValidationError

from loadtests.schedule import Schedule, Segment, arrivals, profile

MAX_ARRIVALS = 1_000_000
ANYWHERE = "LAB_LOAD_ANYWHERE"
"""Environment variable: 1 lifts the limit to loopback addresses, for a target that is yours to load."""


class LoadTestError(Exception):
    """The load test cannot run as asked; its text is one sentence for the user that says what to do."""


class LoadSettings(BaseModel, frozen=True, extra="forbid"):
    """The options of a load test; each field is a command-line option and a field in the web UI."""

    schedule: Schedule = Field(Schedule.POISSON, description="Shape of the load over time")
    rate: float = Field(50.0, gt=0, le=20_000, description="Requests per second (before the burst, at a ramp's start)")
    duration: float = Field(30.0, gt=0, le=3600, description="Seconds from the first to the last possible request")
    peak: float = Field(0.0, ge=0, le=20_000, description="Requests per second at the peak; 0: ten times the rate")
    steps: int = Field(5, ge=2, le=100, description="Number of steps of a step schedule")
    burst_at: float = Field(-1.0, ge=-1, description="Seconds until the burst; -1: a third of the duration")
    burst_seconds: float = Field(0.0, ge=0, description="Length of the burst; 0: a sixth of the duration")
    phases: str = Field(
        "",
        pattern=r"^$|^(\d+(\.\d+)?:\d+(\.\d+)?)(,\d+(\.\d+)?:\d+(\.\d+)?)*$",
        description="Stretches SECONDS:RATE,… in place of rate and duration; constant or poisson",
    )
    start_file: str = Field(
        "", description="File that will hold the Unix time of the start; FILE.MODEL is made when all is ready for it"
    )
    seed: int = Field(1, ge=0, description="Seed of the schedule: the same seed gives the same arrivals")
    item: str = Field("burger", min_length=1, description="Item to order")
    quantity: int = Field(1, ge=1, le=1000, description="Units in each order")
    bulk: int = Field(0, ge=0, le=100_000, description="Orders in each request, streaming only; 0: single orders")
    restock: int = Field(
        -1,
        ge=-1,
        le=1_000_000_000,
        description="Units to stock first; -1: as many as will be ordered; 0: leave the stock",
    )
    inventory_host: str = Field("", description="Inventory service to restock; empty: the model's own on 127.0.0.1")
    timeout: float = Field(30.0, gt=0, le=600, description="Seconds after which a request counts as failed")
    max_in_flight: int = Field(5000, ge=1, le=9000, description="Requests open at a time; more make the run invalid")
    max_lag: float = Field(0.05, gt=0, description="Seconds by which the 99th percentile of requests may start late")
    summary: str = Field("", description="File for the machine-readable result, as JSON")

    @classmethod
    def read(cls, options: dict[str, Any]) -> "LoadSettings":
        """The settings among `options`, which may hold others.

        Raises:
            LoadTestError: A value is out of its range, or the load has too many requests.
        """
        try:
            settings = cls(**{name: options[name] for name in cls.model_fields if name in options})
            expected = sum(segment.expected for segment in settings.segments())
            if settings.phases and settings.schedule not in {Schedule.CONSTANT, Schedule.POISSON}:
                raise ValueError("--phases are constant or poisson")
        except ValidationError as error:
            first = error.errors()[0]
            option = "--" + str(first["loc"][0]).replace("_", "-")
            raise LoadTestError(f"{option} {first['input']}: {first['msg']}; please correct it.") from error
        except ValueError as error:
            raise LoadTestError(
                f"--schedule {options.get('schedule')}: {error}; please correct the options."
            ) from error
        if expected > MAX_ARRIVALS:
            raise LoadTestError(
                f"The load would be {expected:,.0f} requests, and {MAX_ARRIVALS:,} is the limit: "
                "lower --rate, --peak or --duration."
            )
        return settings

    def segments(self) -> list[Segment]:
        """The rate over time.

        Raises:
            ValueError: The burst does not lie within the duration.
        """
        if self.phases:
            stretches = [stretch.split(":") for stretch in self.phases.split(",")]
            return [Segment(float(seconds), float(rate), float(rate)) for seconds, rate in stretches]
        return profile(
            self.schedule,
            rate=self.rate,
            duration=self.duration,
            peak=self.peak or 10 * self.rate,
            steps=self.steps,
            burst_at=self.duration / 3 if self.burst_at < 0 else self.burst_at,
            burst_seconds=self.burst_seconds or self.duration / 6,
        )

    @property
    def seconds(self) -> float:
        """Length of the whole schedule."""
        return sum(segment.seconds for segment in self.segments())

    def arrivals(self) -> list[float]:
        """The instants at which requests are due, in seconds from the start."""
        return arrivals(self.segments(), seed=None if self.schedule is Schedule.CONSTANT else self.seed)

    @property
    def path(self) -> str:
        """Where requests go on the order service."""
        return "/orders/bulk" if self.bulk else "/order"

    @property
    def orders_each(self) -> int:
        """Orders in one request."""
        return self.bulk or 1

    def body(self) -> bytes:
        """The JSON body of every request."""
        order: dict[str, Any] = {"item": self.item, "quantity": self.quantity}
        return json.dumps(order | {"count": self.bulk} if self.bulk else order).encode()


def target(url: str) -> SplitResult:
    """The parts of a service's address, once it is one that a load test may be sent to.

    Raises:
        LoadTestError: It is no HTTP address, its name is unknown, or it is not a loopback address and
            `LAB_LOAD_ANYWHERE` is not 1.
    """
    parts = urlsplit(url)
    try:
        known = parts.scheme in {"http", "https"} and parts.hostname is not None
        port = parts.port
    except ValueError:
        known = False
    if not known:
        raise LoadTestError(f"{url!r} is not an address such as http://127.0.0.1:8000; please correct --host.")
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise LoadTestError(
            f"The name in {url} cannot be resolved; please check the address and its network."
        ) from error
    addresses = {str(entry[4][0]) for entry in found}
    loopback = all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in addresses)
    if not loopback and os.environ.get(ANYWHERE) != "1":
        raise LoadTestError(
            f"{url} is not on this machine, and load goes to loopback addresses alone: "
            f"set {ANYWHERE}=1 if that service is yours to load."
        )
    return parts
