"""Says on the merged pull request where its version runs, and as which image.

The validation report cannot name the image: it is built after the merge, once.
"""

from mlgitops import github, report
from mlgitops.ledger import Ledger
from mlgitops.release import Record, server

HEADER = ["Environment", "State", "Server", "Image", "Since"]


def tell(ledger: Ledger, record: Record) -> None:
    """Write, or bring up to date, the one comment about a deployed version.

    A comment that GitHub refuses does not undo a deployment: it is printed.
    """
    number = record["pull_request"]
    if not number or record["action"] != "deploy":
        return
    marker = f"<!-- released {record['tag']} -->"
    try:
        github.sticky_comment(number, marker, body(ledger, record))
    except github.GitHubError as error:
        print(f"#{number} was not told of {record['tag']}: {error}")


def body(ledger: Ledger, record: Record) -> str:
    """Return where a version runs now, by the ledger alone."""
    releases = (ledger.release(name) for name in ledger.environments())
    rows = [
        [
            release["environment"],
            _state(release),
            report.code(server.of(release).sha256[:12]),
            f"`{release['image']}`" if release["image"] else "none",
            report.text(release["time"]),
        ]
        for release in releases
        if release and release["manifest_sha256"] == record["manifest_sha256"]
    ]
    return (
        f"### {report.text(record['tag'])} is deployed\n\n"
        f"manifest: `{record['manifest_sha256']}`\n\n{report.table(HEADER, rows)}"
    )


def _state(release: Record) -> str:
    """Return the state of a release for a person."""
    state = str(release["state"])
    return "published, unconfirmed" if state == "published" else state
