"""Which environments a release may go through, and what shadow and canary need of them.

Read where params.yaml is proposed, and again where it is deployed; pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mlgitops.pipeline.schema import Location, near

CHAMPION = "production"  # the environment whose release is the champion
# On GitHub these hold storage's login, or the App's key, and run for main only.
RESERVED = ("register", "validate", "monitor", "reproduce", "score")
NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")  # of a namespace, a path, a tag


def problem(names: Sequence[str]) -> str:
    """Return why a release cannot go through these environments, in this order."""
    for name in names:
        if not NAME.fullmatch(name):
            return (
                "has a name that is no environment's: at most 40 lower-case letters, "
                f"digits and hyphens that begin with a letter, got {name!r}"
            )
        if name in RESERVED:
            return (
                f"names {name!r}, an environment that holds logins on GitHub: choose "
                "another name"
            )
    if names[-1] != CHAMPION:
        return (
            f"must end with {CHAMPION!r}, whose version is the champion, got "
            f"{names[-1]!r}"
        )
    return ""


def check(
    names: Sequence[str], shadow: str | None, has_canary: bool, section: Location
) -> None:
    """Refuse an order, a shadow or a canary that no deployment could follow.

    Raises:
        SettingsError: the first of them.
    """
    if words := problem(names):
        raise section.key("environments").error(words)
    others = names[:-1]
    if shadow is not None and shadow not in others:
        kind = f"an environment before {CHAMPION} in deploy.environments"
        words = f"is '{shadow}', which is not {kind}; {near(shadow, others)}"
        raise section.key("shadow").error(words)
    if has_canary and not others:
        raise section.key("canary").error(
            f"needs an environment before {CHAMPION} in deploy.environments: it is "
            "the version that runs there"
        )
