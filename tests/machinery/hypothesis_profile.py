"""How examples are drawn in all tests, those of the template and of the machinery."""

from hypothesis import HealthCheck, settings

from machinery import lengths


def load() -> None:
    """Let a busy machine fail no example, and a run try those that every run tries."""
    settings.register_profile(
        "alike",
        deadline=None,
        derandomize=not lengths.PROOF,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("alike")
