"""Why a request is refused, in a fixed set of words; standard library only.

/metrics counts refusals by them, so none has a text that a client sent.
"""

from enum import StrEnum


class Reason(StrEnum):
    """What is wrong; an error cannot be made without one."""

    MALFORMED = "malformed"  # not HTTP, JSON, Arrow or Parquet, or not of its form
    MEDIA_TYPE = "media_type"  # a type or an encoding that is not read here
    TOO_LARGE = "too_large"  # more bytes, rows or headers than are allowed
    TOO_SLOW = "too_slow"  # the body did not arrive in time
    UNKNOWN_FIELD = "unknown_field"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    NOT_FINITE = "not_finite"  # NaN, infinity, beyond float32
    OUT_OF_CONTRACT = "out_of_contract"  # of its type, and yet not allowed
    NO_PREDICTION = "no_prediction"  # the model has no valid output for a row
    UNAUTHORIZED = "unauthorized"
    RATE_LIMITED = "rate_limited"
    TURNED_OFF = "turned_off"
    NOT_FOUND = "not_found"
    METHOD = "method"
    OVERLOADED = "overloaded"
    NO_MODEL = "no_model"
    STOPPING = "stopping"
    FAILED = "failed"  # a fault of the server or of its model


class RefusedError(Exception):
    """What is wrong with a request: its reason, and one sentence."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        """The sentence is for the caller, the reason for whoever counts."""
        super().__init__(sentence)
        self.reason = reason
