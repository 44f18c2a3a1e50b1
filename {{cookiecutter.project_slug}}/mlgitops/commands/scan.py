"""Looks for known vulnerabilities of what is locked, and of the images that run.

    python -m mlgitops scan

It asks OSV (https://osv.dev) about each package of the locks and of the images of all
environments. One issue lists what has a fixed version; it is closed when nothing is
left. Without the network nothing is looked at, which it says.
"""

from pathlib import Path
from urllib.parse import quote

from mlgitops import github, report
from mlgitops.commands.expected import expected_errors
from mlgitops.commands.install import MACHINERY, storage
from mlgitops.ledger import Ledger
from mlgitops.release import ReleaseError, image, vulnerabilities
from mlgitops.release.vulnerabilities import Finding, Package, ScanError

MARKER = "<!-- known vulnerabilities -->"
TITLE = "Locked packages or an image have known vulnerabilities"
ROWS = 100  # that the issue shows


def main() -> None:
    """Look, and open, update or close the issue."""
    with expected_errors():
        github.tell(scan())


def scan() -> str:
    """Return the result as a sentence, after writing the issue if one is needed."""
    packages, notes = vulnerabilities.locked(locks()), []
    ledger = Ledger()
    running = map(ledger.release, ledger.environments())
    names = vulnerabilities.images(running)
    for name in names:
        try:
            for package, source in _image(name).items():
                sources = (packages.get(package), source)
                packages[package] = ", ".join(filter(None, sources))
        except ReleaseError as error:
            notes.append(f"the image {name} was not looked at: {error}")
    if not names:
        notes.append("no image runs, so none was looked at")
    try:
        findings = vulnerabilities.known(packages)
    except ScanError as error:
        return f"Skipped, nothing was looked at: {error}."
    mendable = [finding for finding in findings if finding.fixed]
    noun = "vulnerability" if len(mendable) == 1 else "vulnerabilities"
    counted = f"{len(packages):,} packages: {len(mendable)} known {noun}"
    if rest := len(findings) - len(mendable):
        counted += f" with a fixed version, {rest} without one"
    sentence = f"Looked at {'; '.join([counted, *notes])}."
    if not mendable:
        github.close_issue(MARKER, sentence)
        return sentence
    news = [_link(each) for each in mendable[:ROWS]]
    url = github.announce(MARKER, TITLE, body(mendable, sentence), news)
    return f"{sentence} {url}"


def locks() -> list[Path]:
    """Return the locks that this repository installs."""
    files = sorted(Path("requirements").glob("*.txt"))
    own = sorted((MACHINERY / "requirements").glob("*.txt"))
    return files + [f for f in own if not f.stem.startswith("storage-")] + storage()


def _image(name: str) -> dict[Package, str]:
    """Return the packages of an image.

    Raises:
        ReleaseError: there is no engine here, or the image cannot be read.
    """
    if not image.engine():
        raise ReleaseError("no container engine answers here")
    return vulnerabilities.inside(name)


def _link(finding: Finding) -> str:
    """Return the link to what is known of a vulnerability."""
    page = f"https://osv.dev/vulnerability/{quote(finding.id, safe='')}"
    return f"[{report.text(finding.id, 60)}]({page})"


def body(findings: list[Finding], sentence: str) -> str:
    """Return the issue: what to change, and where it stands."""
    rows = [
        [
            report.code(f"{each.package.name} {each.package.version}"),
            report.text(each.fixed, 60),
            _link(each),
            report.text(each.summary, 160),
            f"`{each.where}`",
        ]
        for each in findings[:ROWS]
    ]
    more = len(findings) - len(rows)
    table = report.table(["Package", "Fixed in", "Advisory", "About", "Where"], rows)
    return (
        f"{sentence}\n\n{table}\n\n"
        + (f"{more} more are not shown.\n\n" if more else "")
        + "- `requirements/`: type `make lock UPGRADE=--upgrade`, and open a pull "
        "request.\n- `mlgitops/requirements/`: an update of the template brings newer "
        "ones (`make update`).\n- an image: put a newer digest of the base image into "
        "`deploy/Dockerfile`; the next release is built on it.\n\nTo accept these, "
        "close this issue: it is opened again when others become known.\n"
    )
