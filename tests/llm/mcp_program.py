"""An MCP server made with the SDK: ``python mcp_program.py [PORT TOKEN]``.

With a port it speaks HTTP there, to who has the token, else it speaks over its pipes.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("program", log_level="CRITICAL")


@server.tool()
def add(a: int, b: int) -> str:
    """Add."""
    return str(a + b)


@server.tool()
def fail(code: int) -> str:
    """Fail."""
    raise ToolError(f"no page {code}, Authorization: Bearer sk-live-1234567890abcdef")


@server.tool()
def variable(name: str) -> str:
    """A variable of the environment."""
    return os.environ.get(name, "none")


def guarded(app: Any, token: str) -> Any:
    """The server, for those who have the token."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers", ()))
        if scope["type"] == "http" and headers.get(b"authorization") != token.encode():
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await app(scope, receive, send)

    return answer


if __name__ == "__main__":
    if len(sys.argv) == 1:
        server.run("stdio")
    else:
        import uvicorn

        uvicorn.run(
            guarded(server.streamable_http_app(), sys.argv[2]),
            port=int(sys.argv[1]),
            log_level="warning",
        )
