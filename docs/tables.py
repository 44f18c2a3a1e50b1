"""Writes the made-up tables of these pages: python3 tables.py customers.csv

It writes customers.csv, flats.csv, visits.csv or tickets.csv; with `later` after the
name as it is a month later: the same rows, and more. The same command gives the same.
"""

import csv
import math
import random
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

Rows = list[dict[str, object]]


def chance(score: float, dice: random.Random) -> bool:
    """Tell whether something of a score (log odds) happens."""
    return dice.random() < 1 / (1 + math.exp(-score))


def customers(later: bool) -> Rows:
    """Return customers of a telephone company."""
    rows: Rows = []
    dice = random.Random(1)  # noqa: S311  # no secret
    for number in range(1700 if later else 1500):
        plan, months = dice.choice(["basic", "plus", "pro"]), dice.randint(1, 60)
        fee = {"basic": 10, "plus": 20, "pro": 35}[plan]
        calls = min(9, int(dice.expovariate(0.7)))
        autopay = dice.random() < 0.6
        score = 0.6 * calls - 0.06 * months - 1.2 * autopay + 0.03 * fee
        row = {
            "customer_id": f"C{10000 + number}",
            "plan": plan,
            "Months with us": months,
            "monthly fee": f"{fee + dice.choice([0, 0, 2.5]):.2f}",
            "support calls": calls,
            "country": dice.choice(["BE", "NL", "NO"]),
            "autopay": "yes" if autopay else "no",
            "churned": "yes" if chance(score, dice) else "no",
        }
        if dice.random() < 0.05:
            row["support calls"] = ""
        rows.append(row)
    return rows


def flats(later: bool) -> Rows:
    """Return flats that were sold; a month later, in one more district too."""
    rows: Rows = []
    dice = random.Random(2)  # noqa: S311  # no secret
    for number in range(1560 if later else 1500):
        districts = ["Centre", "Harbour", "Old Town", "North"]
        districts += ["Airport"] * (number >= 1500)
        district, size = dice.choice(districts), dice.randint(25, 140)
        built, floor = dice.randint(1900, 2020), dice.randint(0, 8)
        lift = dice.random() < 0.5
        square = {"Centre": 5200, "Harbour": 4600, "Old Town": 4900}.get(district, 3100)
        price = size * square * (1 + number / 15000) + 400 * (built - 1960)
        price *= 1 - 0.02 * floor * (not lift) + dice.gauss(0, 0.08)
        rows.append(
            {
                "sold on": (date(2023, 1, 2) + timedelta(days=number // 2)).isoformat(),
                "district": district,
                "size m²": size,
                "floor": floor,
                "lift": "true" if lift else "false",
                "built": built,
                "price": f"{price:,.0f}",
            }
        )
    return rows


def visits(later: bool) -> Rows:
    """Return visits of patients to a clinic, several of each."""
    rows: Rows = []
    dice = random.Random(3)  # noqa: S311  # no secret
    people = [(dice.randint(20, 90), dice.gauss(0, 1)) for _ in range(330)]
    for number in range(1700 if later else 1500):
        patient = dice.randrange(330 if number >= 1500 else 300)
        age, frailty = people[patient]
        pain = max(0, min(10, round(4 + 2 * frailty + dice.gauss(0, 1.5))))
        rate = round(75 + 6 * frailty + dice.gauss(0, 6))
        ward = dice.choice(["surgery", "medicine", "maternity"])
        score = 0.5 * (pain - 4) + 0.05 * (rate - 75) + 0.03 * (age - 55) - 0.8
        rows.append(
            {
                "visit": number + 1,
                "patient": f"P{patient:04d}",
                "ward": ward,
                "age": age,
                "pain": pain,
                "heart rate": rate,
                "came back": "yes" if chance(score, dice) else "no",
            }
        )
    return rows


SUBJECTS = ["the invoice", "my order", "the parcel", "this app", "the delivery"]
SUBJECTS += ["your website", "the refund", "my account", "the new lamp", "the password"]
URGENT = ["is broken again", "was never delivered", "charged me twice", "smells burnt"]
URGENT += ["stopped working this morning", "was stolen from my account"]
CALM = ["arrived yesterday", "looks nice", "has another colour", "could be faster"]
CALM += ["is in the wrong language", "works well, a question about it"]
CLOSING = ["Please help.", "Thank you!", "Is there news?", "I wait for an answer."]


def tickets(later: bool) -> Rows:
    """Return what customers wrote to a help desk, and whether it was urgent."""
    rows: Rows = []
    dice = random.Random(4)  # noqa: S311  # no secret
    for number in range(1700 if later else 1500):
        urgent = dice.random() < 0.35
        said = dice.choice(URGENT if urgent != (dice.random() < 0.1) else CALM)
        subject = dice.choice(SUBJECTS).capitalize()
        words = [subject, said, f"(no. {dice.randint(1000, 9999)})."]
        words.append(dice.choice(CLOSING))
        rows.append(
            {
                "ticket": f"T{number:05d}",
                "channel": dice.choice(["mail", "form", "phone"]),
                "message": " ".join(words),
                "urgent": "yes" if urgent else "no",
            }
        )
    return rows


TABLES: dict[str, Callable[[bool], Rows]] = {
    "customers": customers,
    "flats": flats,
    "visits": visits,
    "tickets": tickets,
}


def main() -> None:
    """Write the table that is asked for."""
    path = Path(sys.argv[1])
    rows = TABLES[path.stem](sys.argv[2:] == ["later"])
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
