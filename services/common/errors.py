"""What can go wrong, in the lab's own words; transports and the store turn their libraries' errors into these."""

from enum import StrEnum


class LabError(Exception):
    """Any failure that the lab foresees; its text is one sentence for a person."""


class StoreUnavailable(LabError):  # noqa: N818 - states a condition, as the others here do
    """The service's own database cannot be used."""


class BrokerUnavailable(LabError):  # noqa: N818
    """The broker cannot be reached, or has not confirmed in time."""


class PeerUnreachable(LabError):  # noqa: N818
    """Another service cannot be reached, or fails."""


class PeerTimeout(LabError):  # noqa: N818
    """Another service has not answered in time; whether it did the work is unknown."""


class PeerRefused(LabError):  # noqa: N818
    """Another service understood and refused; the text is its reason."""


class InjectedFailure(LabError):  # noqa: N818
    """A failure that a user asked for with POST /admin/fail."""


class Rejection(StrEnum):
    """Why a client got no order: the values of `reason` in campus_orders_rejected_total."""

    INVALID = "invalid"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    UNCONFIRMED = "unconfirmed"
    ERROR = "error"
