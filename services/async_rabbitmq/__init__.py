"""The order flow over asynchronous messages on RabbitMQ."""
