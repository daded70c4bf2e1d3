"""The order flow over a log of events on Kafka."""
