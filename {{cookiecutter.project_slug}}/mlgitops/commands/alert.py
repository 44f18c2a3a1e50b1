"""Tells a webhook what a job of the workflows found, once for each fact.

    python -m mlgitops alert monitor | register | ENVIRONMENT
    python -m mlgitops alert --heartbeat
    python -m mlgitops alert --trial        to see that the address works

`alerts` in params.yaml says in which format, the secret ALERT_WEBHOOK to which address.
What was sent stands in the ledger's folder `alerts/`, so that a second run sends it no
more; what could not be sent is tried again by the next run of the same job. Whatever
goes wrong here is a warning: the job that it tells about goes its own way.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

from mlgitops import git, github, settings
from mlgitops.alert import facts, message, webhook
from mlgitops.commands.expected import ERRORS, expected_errors
from mlgitops.ledger import Ledger, LedgerError
from mlgitops.release import promote

UNKNOWN = (*ERRORS, settings.SettingsError, OSError, KeyError, TypeError, ValueError)


def main() -> None:
    """Send what is new; print a sentence on each fact."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("job", nargs="?", default="", help="whose facts to tell")
    parser.add_argument(
        "--heartbeat", action="store_true", help="tell if the monitor has stopped"
    )
    parser.add_argument(
        "--trial", action="store_true", help="send a message now, that tells nothing"
    )
    arguments = parser.parse_args()
    if bool(arguments.job) + arguments.heartbeat + arguments.trial != 1:
        parser.error("needs a job, or --heartbeat, or --trial")
    if arguments.trial:
        with expected_errors("", webhook.WebhookError, OSError):
            trial()
        return
    try:
        for sentence in alert(arguments.job):
            print(" ".join(sentence.split()))
    except UNKNOWN as error:  # a record of another version of the machinery, say
        warn(f"alerts were not sent: {error}")


def trial() -> None:
    """Send a message that tells nothing, and note it nowhere.

    Raises:
        WebhookError, SettingsError, OSError: why it was not sent.
    """
    rules = settings.alerts(settings.load(Path("params.yaml").read_bytes()))
    address = os.environ.get(webhook.SECRET, "").strip()
    if rules is None:
        raise webhook.WebhookError(
            "params.yaml has no section `alerts`: write `alerts: {format: slack}` there"
        )
    if not address:
        raise webhook.WebhookError(
            f"{webhook.SECRET} is not set: put the webhook's address into it, for this "
            "command only"
        )
    sentence = "Somebody typed `python -m mlgitops alert --trial`; nothing happened."
    fact = facts.Fact("trial", "trial", "Alerts arrive here", sentence, "")
    webhook.send(address, message.FORMATS[rules.format](fact, name()))
    print(f"Sent, as {rules.format}")


def name() -> str:
    """Return whose alerts these are: the repository's name, here the folder's."""
    return os.environ.get("GITHUB_REPOSITORY") or Path.cwd().name


def alert(job: str) -> Iterator[str]:
    """Send the facts of a job that no run has sent; yield a sentence on each.

    Without a job that is whether the monitor has stopped.

    Raises:
        one of UNKNOWN: what cannot be read.
    """
    rules = settings.alerts(settings.load(Path("params.yaml").read_bytes()))
    if rules is None:
        yield "No alerts are sent: params.yaml has no section `alerts`."
        return
    address = os.environ.get(webhook.SECRET, "").strip()
    ledger = Ledger()
    for fact in facts.facts(ledger, job) if job else facts.silence(ledger):
        path = f"alerts/{fact.name}.json"
        if ledger.read_bytes(path) is not None:
            yield f"Sent before: {fact.title}"
        elif not address:
            fix = f"`gh secret set {webhook.SECRET} --env {job or 'monitor'}`"
            warn(f"not sent: {fact.title}: there is no {webhook.SECRET}; type {fix}")
        else:
            yield _send(ledger, fact, path, rules.format, address)


def _send(ledger: Ledger, fact: facts.Fact, path: str, form: str, address: str) -> str:
    """Send one fact and note it; return a sentence."""
    body = message.FORMATS[form](fact, github.repo())
    try:
        webhook.send(address, body)
    except webhook.WebhookError as error:
        warn(f"not sent: {fact.title}: {error}; the next run of this job tries again")
        return "The alert was not sent."
    noted = {"schema": message.SCHEMA, "kind": fact.kind, "title": fact.title}
    noted |= {"run_url": github.run_url(), "time": promote.now()}
    try:
        ledger.append(lambda seq: {path: {**noted, "seq": seq}}, f"alert: {fact.name}")
    except (LedgerError, git.GitError) as error:
        warn(f"sent, but not noted, so it may be sent again: {error}")
    return f"Sent: {fact.title}"


def warn(sentence: str) -> None:
    """Print a warning; in a workflow, annotate the run with it."""
    in_job, line = os.environ.get("GITHUB_ACTIONS"), " ".join(sentence.split())
    print(f"{'::warning::' if in_job else 'warning: '}{line}", flush=True)
