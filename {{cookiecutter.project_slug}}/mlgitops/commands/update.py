"""Says in one issue when the template that this repository came from has moved on.

    python -m mlgitops update

It reads .cruft.json, asks the template's repository for its newest commit, and
changes no file.
"""

import json
from pathlib import Path

from mlgitops import git, github

MARKER = "<!-- template update -->"
TITLE = "The template has moved on"


def main() -> None:
    """Compare, and open, update or leave the issue."""
    try:
        sentence = update()
    except (git.GitError, github.GitHubError) as error:
        raise github.fail(str(error)) from error
    github.tell(sentence)


def update(path: str = ".cruft.json") -> str:
    """Return what was found, after writing the issue if there is something to do."""
    file = Path(path)
    if not file.is_file():
        return (
            "Not linked to a template: type `cruft link URL` once, with the template's "
            "address, and updates will be announced here."
        )
    link = json.loads(file.read_text(encoding="utf-8"))
    template, ours = str(link["template"]), str(link["commit"])
    if not template.startswith(("https://", "http://", "git@", "ssh://")):
        return f"Not looked: the template is a folder ({template}), not an address."
    ref = str(link.get("checkout") or "HEAD")
    newest = git.run("ls-remote", "--", template, ref).split("\t")[0]
    if not newest:
        raise git.GitError(f"{template} has no {ref}: correct .cruft.json")
    if newest == ours:
        return f"Up to date with the template ({ours[:12]})."
    address = announce(template, ours, newest)
    return f"The template has moved on to {newest[:12]}: {address}"


def announce(template: str, ours: str, newest: str) -> str:
    """Open the one issue, or bring it up to date; return its address."""
    body = (
        f"{MARKER}\nThis repository was made from `{template}` at `{ours}`; its newest "
        f"commit is `{newest}`. To take the changes, type\n\n"
        "```\ncruft update\n```\n\n"
        "look at what it changed, and open a pull request. What is yours "
        "(`[tool.cruft] skip` in pyproject.toml) is left alone. To stay where you are, "
        "close this issue: it comes back with the template's next change.\n"
    )
    for issue in github.pages("issues", {"state": "all"}):
        if str(issue.get("body") or "").startswith(MARKER):
            if newest in issue["body"]:
                return str(issue["html_url"])  # said already, perhaps declined
            fields = {"body": body, "state": "open"}
            changed = github.api(f"issues/{issue['number']}", "PATCH", fields)
            return str(changed["html_url"])
    new = github.api("issues", "POST", {"title": TITLE, "body": body})
    return str(new["html_url"])
