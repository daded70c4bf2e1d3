"""What telemetry costs: each model's throughput with none, with metrics, with a tenth of the traces, with all.

`python -m benchmarks.telemetry_cost` on a lab that is up: its services are stopped meanwhile, its brokers and Jaeger
are used. All settings are measured in one run, one after the other and that several times over, so that a drift of
the machine falls on all of them; a figure is the median. Prints a table in Markdown.
"""

import statistics
import sys
import tempfile
from collections import defaultdict
from contextlib import ExitStack

from benchmarks.harness import SYNC, environment, lab_service, orders_per_second, services_stopped
from lab.console import out, say
from lab.experiments.actions import perform
from lab.runtime.choose import choose

ROUNDS = 3
SECONDS = 4.0
CLIENTS = 16
PORT = 8100

SETTINGS = {
    "no telemetry": {"OTEL_SDK_DISABLED": "true", "LAB_TRACES": "off"},
    "metrics": {"LAB_TRACES": "off"},
    "metrics, 10 % of traces": {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"},
    "metrics, all traces": {"OTEL_TRACES_SAMPLER": "parentbased_always_on"},
}
MODELS = {
    "sync, completed/s": SYNC,
    "async, accepted/s": {"services.async_rabbitmq.order": 10},
    "streaming, accepted/s": {"services.streaming_kafka.order": 20},
}


def main() -> int:
    """Measure and print."""
    runtime = choose(None)
    rates: dict[tuple[str, str], list[float]] = defaultdict(list)
    with services_stopped(runtime):
        for turn in range(ROUNDS):
            for setting, variables in SETTINGS.items():
                for model, modules in MODELS.items():
                    say(f"round {turn + 1} of {ROUNDS}: {model} with {setting}")
                    with tempfile.TemporaryDirectory() as data, ExitStack() as running:
                        given = environment(data, PORT) | variables
                        for module, offset in modules.items():
                            running.enter_context(lab_service(module, PORT + offset, given))
                        first = PORT + next(iter(modules.values()))
                        rate = orders_per_second(first, seconds=SECONDS, clients=CLIENTS)
                    rates[setting, model].append(rate)
        perform("purge async", runtime)
        perform("purge streaming", runtime)
    perform("replay", runtime)
    out.print("| |" + "|".join(f" {model} | of none " for model in MODELS) + "|", soft_wrap=True)
    out.print("|---|" + "---:|---:|" * len(MODELS), soft_wrap=True)
    for setting in SETTINGS:
        cells = []
        for model in MODELS:
            rate = statistics.median(rates[setting, model])
            ratios = [a / b for a, b in zip(rates[setting, model], rates["no telemetry", model], strict=True)]
            cells.append(f" {rate:,.0f} | {statistics.median(ratios):.0%} ")
        out.print(f"| {setting} |" + "|".join(cells) + "|", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
