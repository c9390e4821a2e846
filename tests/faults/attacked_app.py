"""A child process: a FastAPI app, read from stdin, under uvicorn. It prints its port."""

from __future__ import annotations

import socket
import sys
from types import ModuleType

import uvicorn


def main(source: str) -> None:
    """Serve the ``app`` of a module until the process is ended."""
    module = ModuleType("attacked")
    sys.modules[module.__name__] = module  # annotations are looked up there
    exec(compile(source, "README.md", "exec", dont_inherit=True), vars(module))
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(module.app, lifespan="on", log_level="critical", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(sys.stdin.read())
