"""An alert as each kind of receiver takes it; pure.

slack   an incoming webhook: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
teams   a Workflow "when a webhook request is received": an Adaptive Card in a message
json    every field by its name, for a receiver of one's own
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlgitops.alert.facts import Fact

Body = dict[str, Any]
ESCAPES = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
}  # else Slack reads links and mentions
SCHEMA = 1
CARD = "http://adaptivecards.io/schemas/adaptive-card.json"


def slack(fact: Fact, repository: str) -> Body:
    """Return a text: bold title, sentence, link."""
    title, sentence = map(_escaped, (f"{repository}: {fact.title}", fact.sentence))
    link = f"\n<{fact.url}|Look at it>" if fact.url else ""
    return {"text": f"*{title}*\n{sentence}{link}"}


def teams(fact: Fact, repository: str) -> Body:
    """Return a message with one card; text that somebody wrote is no markdown in it."""
    title, sentence = map(_plain, (f"{repository}: {fact.title}", fact.sentence))
    texts: list[Body] = [
        {"type": "TextBlock", "text": title, "weight": "Bolder", "wrap": True},
        {"type": "TextBlock", "text": sentence, "wrap": True},
    ]
    card: Body = {"$schema": CARD, "type": "AdaptiveCard", "version": "1.4"}
    card["body"] = texts
    if fact.url:
        action = {"type": "Action.OpenUrl", "title": "Look at it", "url": fact.url}
        card["actions"] = [action]
    kind = "application/vnd.microsoft.card.adaptive"
    attachment = {"contentType": kind, "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def plain(fact: Fact, repository: str) -> Body:
    """Return every field; `name` is the same where an alert comes twice."""
    return {
        "schema": SCHEMA,
        "repository": repository,
        "name": fact.name,
        "kind": fact.kind,
        "title": fact.title,
        "sentence": fact.sentence,
        "url": fact.url,
    }


FORMATS: Mapping[str, Callable[[Fact, str], Body]] = {
    "slack": slack,
    "teams": teams,
    "json": plain,
}


def _escaped(text: str) -> str:
    """Return a text that Slack shows as it is, on one line."""
    return "".join(ESCAPES.get(letter, letter) for letter in " ".join(text.split()))


def _plain(text: str) -> str:
    """Return a text in which a card finds no link, list or emphasis, on one line."""
    return "".join(
        f"\\{c}" if c in "\\`*_[]()#~|" else c for c in " ".join(text.split())
    )
