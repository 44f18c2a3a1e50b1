"""Puts the models of many repositories on one page, from their ledgers alone.

    python -m mlgitops fleet REPOSITORY... [--out FOLDER] [--date 2026-03-22]
    python -m mlgitops fleet --organisation NAME --topic TOPIC

A repository is a folder or a git address; of a folder, the ledger of its origin is
read. It writes index.html and a page for each model, fleet.json, and which thresholds
were in force: compliance.csv for every date, compliance.html for one, today if none is
named. Nothing is run or written in those repositories.

With --publish the pages go to the branch gh-pages of origin; with --check it exits 1
where a model fails. Without a repository both are about the pages that were written.
"""

import argparse
import re
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from mlgitops.commands.expected import expected_errors
from mlgitops.fleet import FleetError, site
from mlgitops.fleet.model import LEVELS, Model
from mlgitops.fleet.sources import fetch_all, of_organisation
from mlgitops.fleet.summary import models

FOLDER = Path("build", "fleet")
DATE = re.compile(r"\d{4}-\d\d(-\d\d)?")


def main() -> None:
    """Read the ledgers, write the pages, say what fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("repositories", nargs="*", metavar="REPOSITORY")
    parser.add_argument("--organisation", help="on GitHub; its repositories are added")
    parser.add_argument("--topic", default="ml-gitops", help="that they have there")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the pages")
    parser.add_argument("--date", help="a day or a month, in UTC, for compliance.html")
    parser.add_argument("--publish", action="store_true", help="to origin's gh-pages")
    parser.add_argument("--check", action="store_true", help="exit 1 if a model fails")
    options = parser.parse_args()
    with expected_errors("", FleetError, OSError):
        moment = datetime.now(UTC)
        date = _date(options.date, moment)
        addresses = list(options.repositories)
        if options.organisation:
            addresses += of_organisation(options.organisation, options.topic)
        if addresses or not (options.publish or options.check):
            models_read = read(addresses, moment)
            index = site.write(models_read, options.out, moment, date)
            print("\n".join([*_lines(models_read), f"written: {index}"]))
        if options.publish:
            print(site.publish(options.out))
        if options.check and (names := site.failing(options.out)):
            raise FleetError(_printable(f"failing: {', '.join(names)}"))


def read(addresses: list[str], moment: datetime) -> list[Model]:
    """Return the model of each address, those that fail first.

    Raises:
        FleetError: no repository was named.
    """
    if not addresses:
        raise FleetError(
            "name the fleet's repositories, as folders or git addresses, or an "
            "--organisation: python -m mlgitops fleet ../flights ../churn"
        )
    with TemporaryDirectory(prefix="fleet-") as folder:
        return models(fetch_all(addresses, Path(folder)), moment)


def _date(text: str | None, moment: datetime) -> str:
    """Return the date that is asked for, or today."""
    if text is None:
        return moment.date().isoformat()
    day = f"{text}-01" if len(text) == len("2026-03") else text
    try:
        if DATE.fullmatch(text) and datetime.fromisoformat(day):
            return text
    except ValueError:
        pass
    raise FleetError(f"{text} is not a date: type --date 2026-03-22 or 2026-03")


def _lines(models_read: list[Model]) -> list[str]:
    """Return how many models are in each state, and why some fail."""
    counts = [(level, sum(m.level == level for m in models_read)) for level in LEVELS]
    lines = [", ".join(f"{count} {level}" for level, count in counts)]
    for model in models_read:
        for reason in model.reasons:
            if reason.level == "failing":
                # Not at the start of a line, where a runner takes :: for a command.
                lines.append(f"- {model.name} ({model.address}): {reason.text}")
    return [_printable(line) for line in lines]


def _printable(text: str) -> str:
    """Return text on one line, without what moves a terminal's cursor."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
