"""Load for the synchronous model: `locust -f loadtests/sync.py`."""

from loadtests.open_loop import ArrivalsShape, OrderUser

__all__ = ["ArrivalsShape", "SyncOrders"]


class SyncOrders(OrderUser):
    """Orders for sync-order."""

    model = "sync"
    host = "http://127.0.0.1:8000"
    inventory = "http://127.0.0.1:8001"
