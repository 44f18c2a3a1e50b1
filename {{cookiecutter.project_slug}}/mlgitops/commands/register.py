"""Registers the version on main: a tag and a GitHub Release.

    python -m mlgitops register

Nothing is trained and no file of the run is used: the ledger has the verdict on main's
recipe and the dvc.lock that CI built for it; the bytes come from storage, by that lock.
A second run changes nothing.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from mlgitops import git, github, recipe
from mlgitops.commands import release_page
from mlgitops.commands.expected import expected_errors
from mlgitops.ledger import SPEC, Ledger
from mlgitops.release import (
    MAIN,
    Record,
    ReleaseError,
    eligibility,
    environments,
    model_name,
    on_main,
    package,
    promote,
    registry,
    revert,
    server,
    settings,
    signature,
)
from mlgitops.release.eligibility import Candidate
from mlgitops.release.registry import Version

WORKFLOWS = ".github/workflows"


def main() -> None:
    """Register the version on main; pass version and environments to the next jobs."""
    with expected_errors():
        to = environments.of_this_run()
        outcome = register()
        image, subjects = None, ""
        if isinstance(outcome, Version):
            image = package.image_of(outcome)
            signature.publish(server.release(outcome, server.at("HEAD"), image))
            subjects = package.subjects(outcome, image) if package.attestable() else ""
    if isinstance(outcome, str):
        github.tell(outcome)
        github.output(environments="[]")
        return
    print(f"{outcome.tag} is registered: manifest {outcome.manifest_sha256}")
    print(f"image: {image or 'none, as IMAGE_REGISTRY is not set'}")
    if environments.waits(environments.CHAMPION):
        github.summary(environments.WAITS)
    github.output(
        environments=json.dumps(to),
        version=outcome.version,
        tag=outcome.tag,
        image=image or "",
        subjects=subjects,
        manifest_sha256=outcome.manifest_sha256,
    )


def register() -> Version | str:
    """Return the version to deploy, or a sentence why there is none.

    Raises:
        ReleaseError: the version on main may not be deployed.
    """
    name = model_name()
    git.complete(MAIN, SPEC, *registry.specs(name))  # one fetch in place of three
    commit = git.run("rev-parse", "HEAD")
    ledger = Ledger()
    if sentence := nothing_to_do(ledger, commit):
        return sentence
    registry.warm()
    registry.fetch(name)
    if sentences := registry.differences(registry.versions(name), ledger.releases()):
        raise ReleaseError(sentences[0])
    verdict = eligibility.named(ledger, commit)
    lock_bytes, sha256 = ledger.lock(verdict["lock_sha256"]), verdict["manifest_sha256"]
    with TemporaryDirectory() as folder:
        candidate = eligibility.bring(commit, Path(folder), sha256, lock_bytes)
        verdict = allowed(ledger, name, candidate)
        version = tag(candidate)
        page = release_page.files(ledger, version, candidate)
        package.publish(version, candidate, ledger, verdict["path"], page)
    return version


def nothing_to_do(ledger: Ledger, commit: str) -> str:
    """Return why a commit needs no deployment, or nothing."""
    if not ledger.releases() and not eligibility.any_merged(ledger):
        return (
            "Nothing to do: nothing that was judged is merged yet, so that there is no "
            f"model. {eligibility.AGAIN}."
        )
    if not on_main(commit):
        raise ReleaseError(
            f"{commit} is not on {MAIN}: only merged commits are deployed"
        )
    current, tip = server.at(commit), server.at(f"origin/{MAIN}")
    newer = recipe.at(f"origin/{MAIN}") != recipe.at(commit)
    if newer or current.sha256 != tip.sha256 or not _taggable(commit):
        return f"Nothing to do: {MAIN} has moved on, and its newest commit is deployed."
    champion = ledger.champion()
    if champion is None:
        return ""
    if not eligibility.same_model(ledger, commit, champion["manifest_sha256"]):
        return ""
    if server.of(champion).sha256 != current.sha256 or not promote.finished(champion):
        return ""
    if not signature.trusted(champion):
        return ""  # main has a key since
    if any(ledger.release(name) is None for name in environments.names()):
        return ""  # a new environment gets what production has
    return f"Nothing to do: production has {champion['tag']}, as does main."


def _taggable(commit: str) -> bool:
    """Tell whether GitHub lets a workflow's token put a tag on a commit of main.

    It does where the commit has the workflow files that main has now.
    """
    args = ("rev-parse", "-q", "--verify")
    refs = (f"{commit}:{WORKFLOWS}", f"origin/{MAIN}:{WORKFLOWS}")
    own, newest = (git.run(*args, ref, check=False) for ref in refs)
    return own == newest


def allowed(ledger: Ledger, name: str, candidate: Candidate) -> Record:
    """Return the verdict that allows a candidate, or refuse the candidate.

    A version that was rolled back is refused. If an earlier run died before it set the
    status, commented and opened the revert pull request, that is done first.
    """
    sha256, code = candidate.manifest_sha256, server.at(candidate.commit).sha256
    try:
        return eligibility.check(ledger, sha256, candidate.commit, code)
    except ReleaseError:
        record = ledger.withdrawal(sha256, code)
        if record and record["action"] == "revert":
            revert.settle(ledger, record)
            revert.tell(ledger, name, record)
        raise


def tag(candidate: Candidate) -> Version:
    """Return the candidate's version on origin, after tagging it if it has none."""
    name, sha256 = str(candidate.manifest["name"]), candidate.manifest_sha256
    commit = registry.locked(candidate.commit, candidate.lock)
    version = registry.register(name, sha256, commit, settings().bump)
    if version.commit != commit:
        eligibility.demand_merged(version)
    registry.in_order(name, version)
    if not same_manifest(version.commit, commit):
        raise ReleaseError(
            f"the tag {version.tag} was moved: {version.commit} has another model"
        )
    return version


def same_manifest(*commits: str) -> bool:
    """Tell whether the dvc.lock of each commit names the same manifest."""
    outs = [eligibility.locked(commit).out("manifest.json") for commit in commits]
    return len({(out.md5, out.size) for out in outs}) == 1
