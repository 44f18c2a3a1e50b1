"""Do the ledger, the tags, the stages and main still say the same?

Each disagreement is a sentence. The ledger only grows, and a record carries the number
of commits before it: one that was changed, removed or slipped in later contradicts it.
"""

import re
from collections.abc import Iterator

from mlgitops import git
from mlgitops.ledger import REPLACED, Ledger
from mlgitops.release import MAIN, Record, admit, registry
from mlgitops.release.registry import Version

NUMBERED = re.compile(
    r"(?:environments/[^/]+/history|(?:verdicts|reports)/[^/]+)/(\d{8})\D"
)


def disagreements(ledger: Ledger, name: str) -> list[str]:
    """Return what does not agree, as sentences; nothing if all does."""
    known, said = registry.survey(name)
    history = [r for place in ledger.environments() for r in ledger.history(place)]
    broken = {sentence.split()[2] for sentence in said}  # told already
    said += registry.differences(
        known, [record for record in history if record["tag"] not in broken]
    )
    said += _rewritten(ledger)
    for record in history:
        said += _verdict(ledger, record)
    for place in ledger.environments():
        said += _followed(ledger, name, place, known)
    return [*dict.fromkeys(said), *_main(ledger)]


def _rewritten(ledger: Ledger) -> Iterator[str]:
    """Yield where the ledger's own history contradicts that it only grows."""
    if ledger.commit is None:
        return
    args = ("log", "--reverse", "--no-renames", "--name-status", "--format=%x01")
    log = git.run(*args, ledger.commit, cwd=ledger.cwd)
    for at, commit in enumerate(log.split("\1")[1:]):
        for line in filter(None, commit.splitlines()):
            change, path = line.split("\t", 1)
            number = NUMBERED.match(path)
            if change != "A" and not REPLACED.fullmatch(path):
                verb = "removed" if change == "D" else "changed"
                yield f"the ledger's record {path} was {verb} after it was written"
            elif change == "A" and number and int(number[1]) != at:
                yield (
                    f"the ledger's record {path} says that it is commit "
                    f"{int(number[1])}, but stands in commit {at}: the branch was "
                    "rewritten, or the record slipped in"
                )


def _verdict(ledger: Ledger, record: Record) -> Iterator[str]:
    """Yield why a deployment was not allowed by the verdict that it names."""
    found = ledger.read(str(record["verdict"]))
    where = f"{record['tag']} in {record['environment']}"
    if found is None:
        yield f"{where}: the ledger lacks its verdict {record['verdict']}"
    elif not found["passed"]:
        yield f"{where}: its verdict {record['verdict']} refuses it"
    elif found["manifest_sha256"] != record["manifest_sha256"]:
        yield f"{where}: its verdict {record['verdict']} is on other bytes"


def _followed(
    ledger: Ledger, name: str, place: str, known: list[Version]
) -> Iterator[str]:
    """Yield where what targets follow is not the newest record, or not the stage."""
    release, history = ledger.release(place), ledger.history(place)
    if release is None:
        return
    if not history or release != history[-1]:
        yield f"{place}'s release.json is not the newest record of its history"
    holder = registry.holder(name, place)
    if release["state"] == "failed" or (holder and holder[1] == release["commit"]):
        return
    names = {version.commit: version.version for version in known}
    stage = names.get(holder[1], holder[1]) if holder else "no version"
    yield (
        f"the stage {place} is assigned to {stage}, the ledger has "
        f"{release['version']}: run `gh workflow run deploy.yml`"
    )


def _main(ledger: Ledger) -> Iterator[str]:
    """Yield that main names another version than production runs."""
    champion, tip = ledger.champion(), git.fetch_branch(MAIN)
    if champion and tip and not admit.same_model(champion["commit"], tip):
        yield (
            f"main does not name what production runs ({champion['tag']}): merge the "
            "revert pull request, or let `deploy` finish"
        )
