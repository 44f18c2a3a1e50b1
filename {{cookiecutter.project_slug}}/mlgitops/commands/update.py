"""Opens an issue when the template of this repository has changed.

    python -m mlgitops update

It compares .cruft.json with the newest commit of the template, and changes no file.
"""

import json
import re
from pathlib import Path

from mlgitops import git, github
from mlgitops.commands.expected import expected_errors

MARKER = "<!-- template update -->"
TITLE = "The template has moved on"
# What git prints where it would ask for a login, or GitHub hides what may not be read.
PRIVATE = re.compile(r"could not read Username|Authentication failed|not found|denied")


def main() -> None:
    """Compare, and open or update the issue."""
    with expected_errors():
        github.tell(update())


def update(path: str = ".cruft.json") -> str:
    """Return the result as a sentence, after writing the issue if one is needed."""
    file = Path(path)
    if not file.is_file():
        return (
            "Not linked to a template: type `cruft link URL` once, with the template's "
            "address, to be told of its updates."
        )
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
        f"{MARKER}\nThis repository was generated from `{template}` at `{current}`; "
        f"the newest commit there is `{newest}`. To apply the changes, type\n\n"
        "```\ncruft update\n```\n\n"
        "review the changes, and open a pull request. Your own files "
        "(`[tool.cruft] skip` in pyproject.toml) are left alone. To skip this update, "
        "close this issue: it is opened again with the template's next change.\n"
    )
    for issue in github.pages("issues", {"state": "all"}):
        if str(issue.get("body") or "").startswith(MARKER):
            if newest in issue["body"]:
                return str(issue["html_url"])  # already announced, perhaps declined
            fields = {"body": body, "state": "open"}
            path = f"issues/{issue['number']}"
            return str(github.api(path, "PATCH", fields)["html_url"])
    fields = {"title": TITLE, "body": body}
    return str(github.api("issues", "POST", fields)["html_url"])
