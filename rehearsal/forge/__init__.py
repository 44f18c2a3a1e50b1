"""A small local stand-in for GitHub: Git, the REST API, and workflows through act.

Where it is not like GitHub, on purpose:

- one token serves all jobs of a run: the union of what they ask for;
- reading needs its scope even in a public repository, as in a private one;
- ``PUT pulls/N/merge`` holds for administrators too; only pushes can be let past;
- ``concurrency`` groups are not evaluated: runs of one workflow never overlap, and
  ``cancel-in-progress`` counts within one pull request;
- an approval cuts a run in two calls of act: finished jobs give their outputs again;
- job environments have no deployment, secrets or variables of their own;
- of called workflows it plays one shape (``files.py``) and refuses all others; each
  environment of the matrix is a call of act, as act goes on after one that failed;
- an app proves itself with its key, not with a JWT signed by it.
"""

from .forge import Forge
from .state import Refusal, Run

__all__ = ["Forge", "Refusal", "Run"]
