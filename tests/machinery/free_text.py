"""Three tables with free text, made up and seeded: reviews, tickets, flats.

Reviews are one column of text and a target, with emoji and missing texts. Tickets are
in six languages, of three classes, beside a category. Flats have a text in German among
numbers, and a price. Each target follows from words of the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml

ROWS = 1_500
NOISE = 0.15  # share of targets that do not follow from the text
GOOD = "great love Excellent PERFECT happy fast naïve-free 👍 ❤️ 😀 recommended".split()
BAD = "terrible broke refund NEVER slow don't waste 👎🏽 😡 rücksendung unhappy".split()
PLAIN = """
the a it was and with box arrived today price colour Café in size phone cable screen
battery after two weeks my daughter said so we ordered again from this shop
""".split()
TOPICS = {
    "billing": "invoice Rechnung facture factura 請求 счёт charged card IBAN".split(),
    "login": "password Passwort mot-de-passe contraseña ログイン пароль locked".split(),
    "other": "question Frage salut hola こんにちは привет नमस्ते 안녕하세요".split(),
}
EXTRAS = {  # of flats, with what they add to the price
    "Balkon": 40.0,
    "Straßenlärm": -60.0,
    "Dachgeschoß": 80.0,
    "möbliert": 30.0,
    "SÜDSEITE": 55.0,
    "renovierungsbedürftig": -90.0,
}
ODD = (  # texts of what Unicode makes difficult, longest and empty ones
    ".",
    "   \r\n\t ",
    "\0great\0",
    "GREAT great Great",
    "e\u0301cole école ÉCOLE ECOLE",
    "STRASSE straße Straße",
    "\u202egreat\u202c\u200d",
    "👨\u200d👩\u200d👧 👍🏽 ❤\ufe0f",
    "請求書のパスワード",
    "नमस्ते दुनिया",
    "\ud83d",
    "a" + "\u0301\u0315" * 200,
    "great " * 400,
    "great\u00a0price\u3000again",
    "ﬁne ﬂat ①②③ Ⅷ ℌ",
    "İstanbul ıstanbul ΣΑΣ σας",
    "great,price;again/great-price_again",
    "ﷺ" * 50,
)


class Table(NamedTuple):
    """A labelled table, its contract, and the text's column."""

    name: str
    rows: pd.DataFrame
    contract: dict[str, Any]
    column: str
    longest: int

    @property
    def yaml(self) -> str:
        """The contract as it is written."""
        return yaml.safe_dump(self.contract, sort_keys=False, allow_unicode=True)


MARKS = (" ", ", ", "! ", " ")


def sentence(random: np.random.Generator, words: Sequence[str], count: int) -> str:
    """Return words in a row, some of them in capitals, with some punctuation."""
    chosen = random.choice(words, count).tolist()
    loud, marks = random.random(count) < 0.1, random.integers(len(MARKS), size=count)
    said = zip(chosen, loud, marks, strict=True)
    return "".join((word.upper() if up else word) + MARKS[m] for word, up, m in said)


def contract(name: str, task: str, columns: dict[str, Any], **more: Any) -> Any:
    """Return a contract of a table without a time."""
    about = {"name": name, "task": task, "id": "row", "target": "target"}
    return {**about, **more, "columns": columns}


def text(longest: int, missing: bool) -> dict[str, Any]:
    """Return a column of text."""
    return {"type": "text", "missing": missing, "max_length": longest}


def reviews(rows: int = ROWS, seed: int = 1) -> Table:
    """Return reviews: is it a good one?"""
    random = np.random.default_rng(seed)
    target = random.integers(0, 2, rows)
    texts: list[str | None] = []
    for good in target:
        own = sentence(random, GOOD if good else BAD, random.integers(1, 4))
        texts.append(sentence(random, PLAIN, random.integers(2, 40)) + own)
    table = pd.DataFrame({"row": ids(rows), "review": texts, "target": target})
    table.loc[random.random(rows) < 0.05, "review"] = None
    table.loc[random.random(rows) < NOISE, "target"] ^= 1
    columns = {"review": text(2_000, True)}
    return Table("reviews", table, contract("reviews", "binary", columns), *SPOT[0])


def tickets(rows: int = ROWS, seed: int = 2) -> Table:
    """Return tickets in six languages: what are they about?"""
    random = np.random.default_rng(seed)
    target = random.choice(list(TOPICS), rows)
    texts = [
        sentence(random, PLAIN, random.integers(0, 9))
        + sentence(random, TOPICS[name], random.integers(1, 4))
        for name in target
    ]
    channel = random.choice(["mail", "chat", "web"], rows)
    other = random.choice(list(TOPICS), rows)
    target = np.where(random.random(rows) < NOISE, other, target)
    table = pd.DataFrame(
        {"row": ids(rows), "channel": channel, "message/text": texts, "target": target}
    )
    columns = {
        "channel": {
            "type": "category",
            "missing": False,
            "categories": ["mail", "chat", "web"],
        },
        "message/text": text(1_000, False),
    }
    about = contract("tickets", "multiclass", columns, classes=[*TOPICS])
    return Table("tickets", table, about, *SPOT[1])


def flats(rows: int = ROWS, seed: int = 3) -> Table:
    """Return flats: what do they cost?"""
    random = np.random.default_rng(seed)
    size = random.uniform(20, 150, rows).round(1)
    noise = random.normal(0, 10, rows)
    texts, prices = [], 8 * size + noise
    for n in range(rows):
        extras = random.choice(list(EXTRAS), random.integers(0, 4), replace=False)
        prices[n] += sum(EXTRAS[str(extra)] for extra in extras)
        texts.append(sentence(random, [*extras, "Wohnung", "mit", "in", "Köln"], 12))
    table = pd.DataFrame(
        {"row": ids(rows), "m²": size, "Beschreibung": texts, "target": prices}
    )
    table.loc[random.random(rows) < 0.1, "Beschreibung"] = None
    columns = {
        "m²": {"type": "number", "missing": False, "min": 0, "max": 500},
        "Beschreibung": text(500, True),
    }
    return Table("flats", table, contract("flats", "regression", columns), *SPOT[2])


SPOT = (("review", 2_000), ("message/text", 1_000), ("Beschreibung", 500))
TABLES = {"reviews": reviews, "tickets": tickets, "flats": flats}


def ids(rows: int) -> list[str]:
    """Return a name for each row."""
    return [f"r{number:05}" for number in range(rows)]
