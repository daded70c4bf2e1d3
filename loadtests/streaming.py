"""Load for the streaming model: `locust -f loadtests/streaming.py`."""

from loadtests.open_loop import ArrivalsShape, OrderUser

__all__ = ["ArrivalsShape", "StreamingOrders"]


class StreamingOrders(OrderUser):
    """Orders for streaming-order."""

    model = "streaming"
    host = "http://127.0.0.1:8020"
    inventory = "http://127.0.0.1:8021"
    bulk = True
