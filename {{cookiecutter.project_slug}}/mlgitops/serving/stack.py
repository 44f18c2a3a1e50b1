"""What the server uses of uvicorn, without its command line.

`import uvicorn` loads click, multiprocessing and the watchers of files as well. Here
the package itself is loaded when somebody asks for one of its own names.
"""

import sys
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any


class _Package(ModuleType):
    """A package that runs its own file at the first use of a name from there."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or self.__spec__ is None or not self.__spec__.loader:
            raise AttributeError(name)
        self.__class__ = ModuleType  # type: ignore[assignment]
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


if "uvicorn" not in sys.modules and (_spec := find_spec("uvicorn")) is not None:
    _package = module_from_spec(_spec)
    _package.__class__ = _Package
    sys.modules["uvicorn"] = _package

from uvicorn.config import Config  # noqa: E402
from uvicorn.protocols.http.httptools_impl import (  # noqa: E402
    STATUS_LINE,
    HttpToolsProtocol,
)
from uvicorn.server import Server, ServerState  # noqa: E402

__all__ = ["STATUS_LINE", "Config", "HttpToolsProtocol", "Server", "ServerState"]
