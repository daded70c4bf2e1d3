"""The control: a closed-loop user, who waits for an answer before sending the next order."""

from locust import FastHttpUser, constant_throughput, task


class ClosedLoopUser(FastHttpUser):
    """Wants to send 200 orders/s, and sends none while it waits."""

    wait_time = constant_throughput(200)

    @task
    def order(self) -> None:
        """Send one order."""
        self.client.post("/order", json={"item": "burger", "quantity": 1})
