"""The rules of the order flow: standard library only, no I/O, no clock of its own."""
