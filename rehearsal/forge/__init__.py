"""A small local stand-in for GitHub: Git, the REST API, and workflows through act.

Where it is not like GitHub, on purpose:

- reading needs its scope even in a public repository, as in a private one;
- a name in a query or a body that GitHub does not know is refused; GitHub ignores some;
- ``PUT pulls/N/merge`` holds for administrators too; only pushes can be let past;
- concurrency groups are those of workflows, with the expressions of ``expressions.py``;
  others are refused;
- a runner keeps its tool cache, as one of your own does, and several may share one; a
  hosted one begins empty;
- an approval cuts a run in two calls of act: finished jobs give their outputs again;
- of called workflows it plays one shape (``files.py``) and refuses all others; each
  environment of the matrix is a call of act, as act goes on after one that failed;
- what a rule refuses is "pre-receive hook declined" in Git's brackets, where GitHub has
  words of its own; its sentences stand above, as there;
- it counts a run's requests and limits none, as a play squeezes months into minutes:
  limits and failures come when ``Forge.fail`` plans them;
- an app proves itself with its key, not with a JWT signed by it.
"""

from .forge import Forge
from .state import Refusal, Run

__all__ = ["Forge", "Refusal", "Run"]
