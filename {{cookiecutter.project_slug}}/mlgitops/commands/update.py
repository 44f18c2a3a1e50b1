"""Opens an issue when the template of this repository has changed, or applies that.

python -m mlgitops update            compares .cruft.json with the template's newest
                                     commit, and changes no file
python -m mlgitops update --apply    brings the changes into this folder (make update)
"""

import json
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from mlgitops import git, github
from mlgitops.commands import selftest
from mlgitops.commands.expected import expected_errors
from mlgitops.commands.selftest import SelftestError

MARKER = "<!-- template update -->"
TITLE = "The template has moved on"
# What git prints where it would ask for a login, or GitHub hides what may not be read.
PRIVATE = re.compile(r"could not read Username|Authentication failed|not found|denied")


def main() -> None:
    """Compare, and open or update the issue; or apply the changes."""
    with expected_errors("", UpdateError):
        if "--apply" in sys.argv[1:]:
            return apply()
        github.tell(update())


class UpdateError(Exception):
    """The template's changes cannot be applied: one sentence."""


def apply(path: Path = Path(".cruft.json")) -> None:
    """Let cruft bring the template's changes into the working tree.

    Raises:
        UpdateError: this repository is not linked to its template, or cruft failed.
    """
    if not path.is_file():
        raise UpdateError(
            "this repository is not linked to its template yet: type "
            f"`.venv/bin/{linking()}`, with the answers that it was generated with, "
            "commit .cruft.json, then type `make update` again"
        )
    if git.run("status", "--porcelain"):
        raise UpdateError("there are changes without a commit: commit them first")
    command = (sys.executable, "-m", "cruft", "update")
    if subprocess.run(command).returncode:
        raise UpdateError("`cruft update` failed: see its message above")
    print("Now type `make lock setup`, and open a pull request with what changed.")


def linking() -> str:
    """Return the command that links this repository to its template, once.

    Linked to the newest commit, cruft would take all that came since for applied: the
    command names the commit whose machinery is the one here.
    """
    template, commit = "ADDRESS", "COMMIT"
    with suppress(SelftestError), TemporaryDirectory(prefix="template-") as name:
        template = selftest.address()
        clone = Path(name, "template")
        selftest.fetch(template, clone)
        commit = selftest.released(clone, template)
    return f"cruft link {template} --checkout {commit}"


def update(path: str = ".cruft.json") -> str:
    """Return the result as a sentence, after writing the issue if one is needed."""
    file = Path(path)
    if not file.is_file():
        return "Not linked to its template, so nothing is compared: type `make update`."
    link = json.loads(file.read_text(encoding="utf-8"))
    template, current = str(link["template"]), str(link["commit"])
    if not template.startswith(("https://", "http://", "git@", "ssh://")):
        return f"Not checked: the template is a folder ({template}), not an address."
    ref = str(link.get("checkout") or "HEAD")
    try:
        newest = git.run("ls-remote", "--", template, ref).split("\t")[0]
    except git.GitError as error:
        if not PRIVATE.search(str(error)):
            raise
        return (
            f"Not checked: {template} is private, and this workflow has no login; "
            "type `cruft check` where you have one."
        )
    if not newest:
        raise git.GitError(f"{template} has no {ref}: correct .cruft.json")
    if newest == current:
        return f"Up to date with the template ({current[:12]})."
    address = announce(template, current, newest)
    return f"The template has moved on to {newest[:12]}: {address}"


@github.repeated
def announce(template: str, current: str, newest: str) -> str:
    """Open the one issue, or update it; return its address."""
    body = (
        f"This repository was generated from `{template}` at `{current}`; "
        f"the newest commit there is `{newest}`. To apply the changes, type\n\n"
        "```\npython -m mlgitops update --apply\n```\n\n"
        "review the changes, and open a pull request. Your own files "
        "(`[tool.cruft] skip` in pyproject.toml) are left alone. To skip this update, "
        "close this issue: it is opened again with the template's next change.\n"
    )
    return github.announce(MARKER, TITLE, body, [newest])
