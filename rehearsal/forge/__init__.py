"""A small local stand-in for GitHub: Git, the REST API, and workflows through act."""

from .forge import Forge
from .state import Refusal, Run

__all__ = ["Forge", "Refusal", "Run"]
