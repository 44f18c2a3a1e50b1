"""Checks that the ledger, the tags and main agree.

Each disagreement is a sentence. The ledger only grows, and a record carries the number
of commits before it: one that was changed, removed or added later contradicts it.
"""

import json
import re
from collections.abc import Iterator, Sequence

from mlgitops import git, github
from mlgitops.ledger import HOST, REPLACED, Ledger, without_block
from mlgitops.release import MAIN, Record, eligibility, registry, signature

NUMBERED = re.compile(
    r"(?:environments/[^/]+/(?:history|canaries)|(?:verdicts|reports|signatures)/[^/]+"
    r"|monitoring(?:/reports)?|proposals)/(\d{8})\D"
)

SAID = ("passed", "manifest_sha256")  # in a verdict, of what may be deployed


def disagreements(ledger: Ledger, name: str) -> list[str]:
    """Return what does not agree, as sentences; nothing if all does."""
    versions, sentences = registry.survey(name)
    history = ledger.releases()
    broken_tags = {sentence.split()[2] for sentence in sentences}  # reported already
    sentences += registry.differences(
        versions, [record for record in history if record["tag"] not in broken_tags]
    )
    sentences += rewritten(ledger)
    verdicts = _named_verdicts(ledger, history)
    for record in history:
        sentences += _verdict(verdicts.get(str(record["verdict"])), record)
    for environment in ledger.environments():
        sentences += _followed(ledger, environment)
    if champion := ledger.champion():
        sentences += _named(ledger, champion)
    return list(dict.fromkeys(sentences))


def _named(ledger: Ledger, champion: Record) -> Iterator[str]:
    """Yield where main names another version than production runs."""
    tip = git.fetch_branch(MAIN)
    try:
        agrees = not tip or eligibility.same_model(
            ledger, tip, champion["manifest_sha256"]
        )
    except github.GitHubError as error:
        yield f"whether main names what production runs is not known: {error}"
        return
    advice = "merge the revert pull request, or let `deploy` finish"
    if champion.get("fault") == HOST:
        advice = (
            f"{champion['reason']}; mend it, then type `gh workflow run deploy.yml`"
        )
    if not agrees:
        yield f"main does not name what production runs ({champion['tag']}): {advice}"


def rewritten(ledger: Ledger) -> Iterator[str]:
    """Yield where the ledger's own history contradicts that it only grows."""
    if ledger.commit is None:
        return
    args = ("log", "--reverse", "--no-renames", "--name-status", "--format=%x01%P")
    log = git.run(*args, ledger.commit, cwd=ledger.cwd)
    for seq, commit in enumerate(log.split("\1")[1:]):
        parents, *changes = commit.splitlines()
        if " " in parents:  # git lists no changes of it
            yield (
                f"the ledger's commit {seq} is a merge, which can hide a change: find "
                "out who pushed it"
            )
        for line in filter(None, changes):
            change, path = line.split("\t", 1)
            number = NUMBERED.match(without_block(path))
            if change != "A" and not REPLACED.fullmatch(path):
                verb = "removed" if change == "D" else "changed"
                yield f"the ledger's record {path} was {verb} after it was written"
            elif change == "A" and number and int(number[1]) != seq:
                yield (
                    f"the ledger's record {path} names commit {int(number[1])}, but is "
                    f"in commit {seq}: the branch was rewritten, or the record was "
                    "added later"
                )


def _named_verdicts(ledger: Ledger, history: Sequence[Record]) -> dict[str, Record]:
    """Return what the verdicts that releases name say of them, by path."""
    named = {str(record["verdict"]) for record in history}
    there = sorted(named.intersection(ledger.paths("verdicts/")))
    verdicts = ((path, json.loads(data)) for path, data in ledger.each(there))
    return {path: {name: each.get(name) for name in SAID} for path, each in verdicts}


def _verdict(verdict: Record | None, record: Record) -> Iterator[str]:
    """Yield why a deployment was not allowed by the verdict that it names."""
    subject = f"{record['tag']} in {record['environment']}"
    if verdict is None:
        yield f"{subject}: the ledger lacks its verdict {record['verdict']}"
    elif not verdict["passed"]:
        yield f"{subject}: its verdict {record['verdict']} refuses it"
    elif verdict["manifest_sha256"] != record["manifest_sha256"]:
        yield f"{subject}: its verdict {record['verdict']} is on other bytes"


def _followed(ledger: Ledger, environment: str) -> Iterator[str]:
    """Yield where what targets follow is not the newest record."""
    release, history = ledger.release(environment), ledger.history(environment)
    if release and (not history or release != history[-1]):
        yield f"{environment}'s release.json is not the newest record of its history"
    if release and release["state"] != "failed" and not signature.trusted(release):
        yield (
            f"{environment}'s release is not signed with {signature.PUBLIC}: let "
            "`deploy` finish if the key is new, else find out who pushed it"
        )
