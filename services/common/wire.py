"""Events as bytes: JSON in UTF-8, the same over both brokers."""

import orjson

from services.domain.events import Event, Malformed


def encode(event: Event) -> bytes:
    """The body of the message that carries `event`."""
    return orjson.dumps(event.to_wire())


def decode(body: bytes | None) -> object:
    """The JSON value of a message's body.

    Raises:
        Malformed: It is not JSON in UTF-8.
    """
    try:
        return orjson.loads(body or b"")
    except orjson.JSONDecodeError as error:
        raise Malformed(f"message: not JSON ({error})") from error
