"""Rows of panels that several dashboards share; each takes the selector of what it shows."""

from observability.dashboards.panels import Panel, figure, graph, heat, states

WINDOW = "$__rate_interval"
"""Grafana's own choice: four scrapes, so 4 s, or more where the dashboard shows a longer time."""

SLOW = ((0.5, "orange"), (2.0, "red"))
"""Seconds a customer waits: from the latency objective on, and from where people give up."""


def quantile(share: float, metric: str, selector: str, by: str) -> str:
    """PromQL of a quantile of a histogram's latencies."""
    return f"histogram_quantile({share}, sum by ({by}, le) (rate({metric}_bucket{{{selector}}}[{WINDOW}])))"


def rate(metric: str, selector: str, by: str) -> str:
    """PromQL of a counter's rate per second."""
    return f"sum by ({by}) (rate({metric}{{{selector}}}[{WINDOW}]))"


def faults(services: str, *by: str) -> Panel:
    """When faults are injected into which service; a line for each value of the labels `by`."""
    return states(
        "Injected faults",
        "Red while a fault is on. Look for what else changes at its edges. `lab fault SERVICE reset` ends one.",
        (
            f'max by ({", ".join(by)}) (campus_fault_active{{service=~"{services}"}})',
            " ".join(f"{{{{{label}}}}}" for label in by),
        ),
    )


def ledger(selector: str) -> list[Panel]:
    """Whether orders and stock balance."""
    return [
        graph(
            "Orders: accepted and decided",
            "Counted since each process started. Accepted and decided meet when nothing waits; a gap that stays is "
            "what waits at a broker or in the dead-letter queue. A restart sets a line back to 0.",
            "short",
            (f"sum by (model) (campus_orders_accepted_total{{{selector}}})", "{{model}} accepted"),
            (f"sum by (model, outcome) (campus_order_outcomes_total{{{selector}}})", "{{model}} {{outcome}}"),
        ),
        graph(
            "Stock",
            "Units left and reserved, of all items. What one loses the other gains; a restock lifts the sum.",
            "short",
            (f"sum by (model, state) (campus_stock_units{{{selector}}})", "{{model}} {{state}}"),
        ),
        graph(
            "Units unaccounted for",
            "Received less left less reserved: 0, whatever was killed or sent twice. A value that stays is a "
            "defect of the lab; a spike of one scrape was read between two updates.",
            "short",
            (
                f'sum by (model) (campus_stock_units{{{selector},state="received"}})'
                f' - sum by (model) (campus_stock_units{{{selector},state=~"left|reserved"}})',
                "{{model}}",
            ),
            thresholds=((1, "red"),),
        ),
    ]


def spread(selector: str) -> list[Panel]:
    """How latencies spread."""
    return [
        heat(
            "Accept latency, spread",
            "Dark bands are where most replies are. Two bands are two kinds of reply: look for what parts them.",
            "campus_order_accept_seconds",
            selector,
        ),
        heat(
            "Completion latency, spread",
            "A band that climbs steadily is a backlog: each order waits a little longer than the one before.",
            "campus_order_completion_seconds",
            selector,
        ),
    ]


def resources(jobs: str) -> list[Panel]:
    """What each process uses."""
    return [
        graph(
            "CPU",
            "Cores that each process uses. At 1.0 a Python process is at its limit, and more load only queues.",
            "short",
            (f'sum by (job) (rate(process_cpu_seconds_total{{job=~"{jobs}"}}[{WINDOW}]))', "{{job}}"),
            thresholds=((1.0, "red"),),
        ),
        graph(
            "Resident memory",
            "Should level off. A line that climbs with every order is a leak.",
            "bytes",
            (f'process_resident_memory_bytes{{job=~"{jobs}"}}', "{{job}}"),
        ),
        graph(
            "Open file descriptors",
            "Grows with connections. It should fall back after a burst.",
            "short",
            (f'process_open_fds{{job=~"{jobs}"}}', "{{job}}"),
        ),
    ]


def telemetry(jobs: str) -> list[Panel]:
    """Whether what the other panels show can be trusted."""
    return [
        graph(
            "Spans exported and lost",
            "Lost spans (nobody took them, or the queue was full) leave gaps in traces; orders are not affected.",
            "ops",
            (f'sum(rate(otel_sdk_exporter_span_exported_total{{job=~"{jobs}",error_type=""}}[{WINDOW}]))', "exported"),
            (
                f'sum(rate(otel_sdk_exporter_span_exported_total{{job=~"{jobs}",error_type!=""}}[{WINDOW}]))'
                " or vector(0)",
                "not taken",
            ),
            (
                f'sum(rate(otel_sdk_processor_span_processed_total{{job=~"{jobs}",error_type!=""}}[{WINDOW}]))'
                " or vector(0)",
                "queue full",
            ),
        ),
        graph(
            "Span queue, filled",
            "Spans are dropped at 100 %. Rising under load: sample less (OTEL_TRACES_SAMPLER_ARG).",
            "percentunit",
            (
                f'max by (job) (otel_sdk_processor_span_queue_size{{job=~"{jobs}"}}'
                f' / otel_sdk_processor_span_queue_capacity{{job=~"{jobs}"}})',
                "{{job}}",
            ),
            thresholds=((0.8, "red"),),
        ),
        graph(
            "Scrape duration",
            "Each target is scraped once a second. Near 1 s a scrape is missed, and rates have holes.",
            "s",
            (f'scrape_duration_seconds{{job=~"{jobs}"}}', "{{job}}"),
            thresholds=((0.5, "orange"), (1.0, "red")),
        ),
    ]


def dead_letters(selector: str, *, width: int = 4) -> Panel:
    """How many messages were set aside."""
    return figure(
        "Dead letters",
        "Messages set aside since the services started: look at their reason (docs/alerts.md#deadletters).",
        "short",
        (f"sum by (model) (campus_messages_dead_lettered_total{{{selector}}})", "{{model}}"),
        width=width,
        thresholds=((1, "orange"),),
    )
