"""How often a message's work is tried, the same over both brokers."""

DELIVERY_LIMIT = 5
"""Retries after the first try: x-delivery-limit of the queues in definitions.json."""

RETRY_FIRST = 0.05
"""Seconds before the first retry."""


def pause_before_retry(retries: int) -> float:
    """Seconds to wait after a failure that `retries` retries came before; twice as long each time."""
    return RETRY_FIRST * float(2**retries)
