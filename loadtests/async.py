"""Load for the asynchronous model: `locust -f loadtests/async.py`."""  # noqa: N999 - the slug of the model, and locust loads it by its path

from loadtests.open_loop import ArrivalsShape, OrderUser

__all__ = ["ArrivalsShape", "AsyncOrders"]


class AsyncOrders(OrderUser):
    """Orders for async-order."""

    model = "async"
    host = "http://127.0.0.1:8010"
    inventory = "http://127.0.0.1:8011"
