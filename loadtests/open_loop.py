"""The open-loop engine on Locust: requests start when the schedule says so, however slow the answers are.

A locust file names a model by a small subclass of `OrderUser` and imports `ArrivalsShape`. One user per Locust worker
starts that worker's share of the arrivals; the master (or the only process) makes the plan, restocks, adds up and
judges. Latency counts from the intended instant, so that a stall is seen by every request that was due in it.
"""

# Locust's event hooks carry no annotations.
# mypy: disable-error-code="untyped-decorator, no-untyped-call"

import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

import gevent
from gevent.pool import Pool
from geventhttpclient import HTTPClient
from geventhttpclient.response import HTTPParseError
from locust import LoadTestShape, User, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.exception import ResponseError, StopUser
from locust.runners import LocalRunner, MasterRunner, Runner, WorkerRunner
from locust.web import WebUI

from loadtests.plan import LoadSettings, LoadTestError, target
from loadtests.schedule import Schedule, partition
from loadtests.tally import Tally, fault, summary, write

EXIT_REFUSED = 2
EXIT_INVALID = 3

# Time for the plan to reach every worker before the first request is due.
LEAD_SECONDS = 0.5
# How long to wait for the start file, and how long between two looks.
START_LIMIT_SECONDS = 120.0
START_LOOK_SECONDS = 0.05
# Answers that are not in by the request timeout and this are given up.
GRACE_SECONDS = 3.0
# Restocking is one small request.
RESTOCK_TIMEOUT_SECONDS = 10.0

logger = logging.getLogger(__name__)


class Word(StrEnum):
    """What master and workers tell each other."""

    PLAN = "open_loop_plan"
    TALLY = "open_loop_tally"


@dataclass
class Run:
    """One run as the master sees it."""

    settings: LoadSettings
    model: str
    host: str
    planned: int
    generators: int
    started_at: float
    deadline: float
    tally: Tally = field(default_factory=Tally)
    reports: int = 0

    @property
    def over(self) -> bool:
        """Whether every generator reported, or can no longer be expected to."""
        return self.reports >= self.generators or time.time() > self.deadline


@dataclass
class Desk:
    """What this process knows of the present run; there is one Locust environment in a process."""

    run: Run | None = None
    refused: bool = False
    plan: dict[str, Any] | None = None

    def clear(self) -> None:
        """Forget the run, so that the web UI can start another."""
        self.run = self.plan = None
        self.refused = False


desk = Desk()


class OrderUser(User):
    """Starts one worker's share of the arrivals; subclass it per model.

    Attributes:
        host: The order service.
        model: The model's slug.
        inventory: The inventory service that is restocked before a run.
        bulk: Whether the order service takes `POST /orders/bulk`.
    """

    abstract = True
    model: ClassVar[str]
    inventory: ClassVar[str]
    bulk: ClassVar[bool] = False

    @task
    def arrivals(self) -> None:
        """Start each request at its instant, wait for the answers, report, and leave."""
        plan, desk.plan = desk.plan, None
        if plan is None:
            raise StopUser
        settings = LoadSettings(**plan["settings"])
        generator = Generator(self.environment, plan["host"], settings)
        try:
            generator.play(partition(settings.arrivals(), plan["part"], plan["parts"]), plan["start_at"])
        finally:
            tell(self.environment.runner, Word.TALLY, generator.tally.to_message())
        raise StopUser


class Generator:
    """Starts requests at given instants, each in a greenlet of its own, and tallies them.

    Args:
        environment: Where each request is reported to Locust's statistics.
        host: The order service's address.
        settings: The run's.
    """

    def __init__(self, environment: Environment, host: str, settings: LoadSettings) -> None:
        self.tally = Tally()
        self._report = environment.events.request.fire
        self._settings = settings
        self._body = settings.body()
        self._open = Pool()
        self._client = HTTPClient.from_url(
            host,
            headers={"Content-Type": "application/json"},
            concurrency=settings.max_in_flight,
            connection_timeout=settings.timeout,
            network_timeout=settings.timeout,
        )

    def play(self, due: Sequence[float], start_at: float) -> None:
        """Start a request at each of the instants `due`, in seconds after `start_at` (Unix), and wait for the answers.

        A request that would be one too many in flight is dropped and counted. What is unanswered after the timeout is
        given up.
        """
        start = time.perf_counter() + (start_at - time.time())
        try:
            for instant in due:
                intended = start + instant
                # A timer may fire a little early; without a wait at all, answers would not be read when behind.
                gevent.sleep(max(intended - time.perf_counter(), 0.0))
                while (early := intended - time.perf_counter()) > 0:
                    gevent.sleep(early)
                if len(self._open) >= self._settings.max_in_flight:
                    self.tally.dropped += 1
                else:
                    self._open.spawn(self._order, intended)
            self._open.join(timeout=self._settings.timeout + GRACE_SECONDS)
        finally:
            self._open.kill()
            self._client.close()

    def _order(self, intended: float) -> None:
        """Send one request and report its end, counted from the `intended` instant (on the performance counter)."""
        self.tally.start(time.perf_counter() - intended)
        failure: str | None = "unfinished"
        error: Exception | None = ResponseError("given up: no answer in time")
        length = 0
        try:
            response = self._client.post(self._settings.path, self._body)
            length = len(response.read())
            if response.status_code // 100 == 2:
                failure = error = None
            else:
                failure = str(response.status_code)
                error = ResponseError(f"HTTP {response.status_code}")
        except TimeoutError:
            failure, error = "timeout", ResponseError("timed out")
        except (OSError, HTTPParseError) as broken:
            failure, error = "connection", ResponseError(f"connection failed: {type(broken).__name__}")
        finally:
            latency = time.perf_counter() - intended
            now = time.time()
            self.tally.end(latency, failure, now)
            self._report(
                request_type="POST",
                name=self._settings.path,
                response_time=latency * 1000,
                response_length=length,
                start_time=now - latency,
                exception=error,
                context={},
            )


class ArrivalsShape(LoadTestShape):
    """One user per worker until the schedule is over; Locust then stops by itself."""

    def tick(self) -> tuple[int, float] | None:
        """The number of users and their spawn rate, or None at the end of the run."""
        if desk.refused or (desk.run is not None and desk.run.over):
            return None
        if desk.run is not None:
            users = desk.run.generators
        else:
            users = max(1, self.runner.worker_count) if isinstance(self.runner, MasterRunner) else 1
        return users, float(users)


def tell(runner: Runner | None, word: Word, message: dict[str, Any], worker: str | None = None) -> None:
    """Send a message to the other side, which in a single process is this one."""
    if runner is not None:
        runner.send_message(word, message, worker)


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    """Offer each setting as an option and in the web UI."""
    for name, setting in LoadSettings.model_fields.items():
        choices = [str(choice) for choice in Schedule] if name == "schedule" else None
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=str if choices else setting.annotation,
            default=str(setting.default) if choices else setting.default,
            help=f"{setting.description}. Default: {setting.default}",
            choices=choices,
        )


@events.init.add_listener
def listen(environment: Environment, web_ui: WebUI | None = None, **_: Any) -> None:
    """Hear plans on a worker, tallies on the master, and both in a single process; make sure of the web UI's port."""
    runner = environment.runner
    if isinstance(runner, WorkerRunner | LocalRunner):
        runner.register_message(Word.PLAN, hear_plan)
    if isinstance(runner, MasterRunner | LocalRunner):
        runner.register_message(Word.TALLY, hear_tally)
        if web_ui is None:
            # Locust ends a shape's run in order on Ctrl-C, and listens to this signal only after it.
            gevent.signal_handler(signal.SIGTERM, os.kill, os.getpid(), signal.SIGINT)
    if web_ui is not None:
        try:
            socket.create_server((web_ui.host, web_ui.port)).close()
        except OSError:
            logger.error("Port %s is taken: end what uses it, or give --web-port another.", web_ui.port)
            sys.exit(EXIT_REFUSED)


def hear_plan(msg: Any, **_: Any) -> None:
    """Keep the plan for the user that is about to be spawned."""
    desk.plan = msg.data


def hear_tally(msg: Any, **_: Any) -> None:
    """Add up what a generator counted."""
    if desk.run is not None:
        desk.run.tally.add(Tally.from_message(msg.data))
        desk.run.reports += 1


@events.test_start.add_listener
def prepare(environment: Environment, **_: Any) -> None:
    """Check the settings and the target, restock, and give each generator its share; or say why not."""
    if isinstance(environment.runner, WorkerRunner):
        return
    desk.clear()
    environment.process_exit_code = None
    try:
        desk.run = plan(environment)
    except LoadTestError as refusal:
        logger.error("%s", refusal)
        desk.refused = True
        environment.process_exit_code = EXIT_REFUSED


def plan(environment: Environment) -> Run:
    """Make the plan of a run and tell it to the generators.

    Raises:
        LoadTestError: The load test cannot run as asked.
    """
    settings = LoadSettings.read(vars(environment.parsed_options))
    user = environment.user_classes[0]
    if len(environment.user_classes) != 1 or not issubclass(user, OrderUser):
        raise LoadTestError("One model at a time: give locust one file, as in -f loadtests/sync.py.")
    host = environment.host or user.host or ""
    if settings.bulk and not user.bulk:
        raise LoadTestError(
            f"The {user.model} model takes no bulk orders: use loadtests/streaming.py, or leave --bulk."
        )
    reach(host)
    due = settings.arrivals()
    stocked = restock(settings, settings.inventory_host or user.inventory, len(due))

    runner = environment.runner
    workers: list[str | None] = [None]
    if isinstance(runner, MasterRunner):
        workers = [node.id for node in runner.clients.ready + runner.clients.running + runner.clients.spawning]
    start_at = appointed(settings, user.model)
    for part, worker in enumerate(workers):
        shared = {"settings": settings.model_dump(mode="json"), "host": host, "start_at": start_at}
        tell(runner, Word.PLAN, shared | {"part": part, "parts": len(workers)}, worker)
    logger.info(
        "%s requests to %s%s over %g s (%s, seed %s) from %s generator(s); %s",
        len(due), host, settings.path, settings.seconds, settings.schedule, settings.seed, len(workers), stocked,
    )  # fmt: skip
    return Run(
        settings=settings,
        model=user.model,
        host=host,
        planned=len(due),
        generators=len(workers),
        started_at=start_at,
        deadline=start_at + settings.seconds + settings.timeout + 2 * GRACE_SECONDS,
    )


def appointed(settings: LoadSettings, model: str) -> float:
    """When the schedule starts, in Unix seconds: at once, or when the start file says, once it does.

    Raises:
        LoadTestError: The start file did not come.
    """
    if not settings.start_file:
        return time.time() + LEAD_SECONDS
    file = Path(settings.start_file)
    file.with_name(f"{file.name}.{model}").touch()
    for _ in range(round(START_LIMIT_SECONDS / START_LOOK_SECONDS)):
        if file.exists():
            return float(file.read_text())
        gevent.sleep(START_LOOK_SECONDS)
    raise LoadTestError(f"{file} did not come within {START_LIMIT_SECONDS:g} s: start the load without --start-file.")


def reach(host: str) -> None:
    """Open a connection to the order service once.

    Raises:
        LoadTestError: It may not be loaded, or nothing listens there.
    """
    address = target(host)
    try:
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname or "", port), RESTOCK_TIMEOUT_SECONDS).close()
    except OSError as error:
        raise LoadTestError(f"Nothing answers at {host}: start the stack with 'lab up', or correct --host.") from error


def restock(settings: LoadSettings, inventory: str, requests: int) -> str:
    """Set the item's stock to what the run needs, or to what the user asked for.

    Returns:
        What was done, for the log.

    Raises:
        LoadTestError: The inventory service cannot be reached, or refuses.
    """
    units = settings.restock
    if units < 0:
        units = requests * settings.orders_each * settings.quantity
    if units == 0:
        return "stock left as it is"
    target(inventory)
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get("LAB_ADMIN_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    client = HTTPClient.from_url(
        inventory, connection_timeout=RESTOCK_TIMEOUT_SECONDS, network_timeout=RESTOCK_TIMEOUT_SECONDS
    )
    try:
        body = json.dumps({"item": settings.item, "quantity": units})
        response = client.post("/admin/restock", body, headers)
        answer = response.read().decode(errors="replace")
    except (OSError, HTTPParseError) as error:
        raise LoadTestError(
            f"The inventory service at {inventory} does not answer: start the stack with 'lab up', "
            "correct --inventory-host, or leave the stock as it is with --restock 0."
        ) from error
    finally:
        client.close()
    if response.status_code == 401:
        raise LoadTestError(f"The inventory service at {inventory} wants a token: set LAB_ADMIN_TOKEN to the lab's.")
    if response.status_code != 200:
        raise LoadTestError(
            f"The inventory service at {inventory} refused to stock {units} {settings.item} "
            f"(HTTP {response.status_code}): {answer[:300]}"
        )
    return f"stock of {settings.item} set to {units}"


@events.test_stop.add_listener
def judge(environment: Environment, **_: Any) -> None:
    """Say whether the run is valid, write its summary, and let Locust exit with 3 when it is not."""
    run = desk.run
    if isinstance(environment.runner, WorkerRunner) or run is None:
        return
    missing = run.generators - run.reports
    result = summary(
        run.tally,
        run.settings,
        model=run.model,
        host=run.host,
        planned=run.planned,
        generators=run.generators,
        missing=missing,
        started_at=run.started_at,
    )
    reason = fault(run.tally, run.settings, planned=run.planned, missing=missing)
    if reason is None:
        lag = result["dispatch_lag"]
        logger.info(
            "Valid: %s of %s requests sent, %s ok; 99 %% started within %s s of their instant, the last within %s s.",
            run.tally.sent, run.planned, run.tally.ok, lag["p99"], lag["max"],
        )  # fmt: skip
    else:
        environment.process_exit_code = EXIT_INVALID
        logger.error("Invalid: %s", reason)
    if run.settings.summary:
        try:
            write(result, Path(run.settings.summary))
        except OSError as error:
            logger.error("The summary cannot be written to %s (%s): correct --summary.", run.settings.summary, error)
            environment.process_exit_code = EXIT_REFUSED
    desk.clear()
