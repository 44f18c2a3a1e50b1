"""Writes what a person looks at after the rehearsal: `timeline.html`.

`write(folder, story)` takes a story:

    {"title", "subtitle", "ok", "seconds",
     "steps": [{"name", "title", "ok", "seconds", "facts": {...},
                "text": Markdown, "refs": [...]}],
     "pulls": {number: {...}}, "runs": {id: {...}}, "deployments": {id: {...}}}

A reference is `{"kind": "pull", "number"}`, `{"kind": "run", "id"}`,
`{"kind": "deployment", "id"}`, `{"kind": "report", "path", "title"}`,
`{"kind": "text", "title", "body"}` or `{"kind": "monitoring", "record", "path",
"title"}` (a record of the ledger's `monitoring/` and the report beside the page).
An entry that several steps refer to is shown once and linked afterwards; entries that
no step refers to come at the end. A fact that maps sources to hashes
(`{"manifest_sha256": {"comment": ..., "ledger": ...}}`) is shown as one number, or
in red as not one number. Paths are relative to the folder.
"""

from rehearsal.page.document import comment_page
from rehearsal.page.timeline import write

__all__ = ["comment_page", "write"]
