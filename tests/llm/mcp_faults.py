"""An MCP server of the protocol's first versions, that fails as it is told: its start takes little.

``python mcp_faults.py [WORD...]``; a word is what it does in place of serving, or the file that it
writes its pid to before it does.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

TOOLS = ("die", "hang", "pid", "write")


def answer(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    """The answer to a request; None: there is no such method."""
    if method == "initialize":
        return {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "faults", "version": "1"},
        }
    if method == "tools/list":
        schema = {"type": "object", "properties": {}}
        return {"tools": [{"name": name, "inputSchema": schema} for name in TOOLS]}
    if method != "tools/call":
        return None
    if params["name"] == "die":
        print("a dying server says so", file=sys.stderr, flush=True)
        os._exit(3)
    if params["name"] == "hang":
        time.sleep(600)
    if params["name"] == "write":
        print("a line on standard error", file=sys.stderr, flush=True)
    return {"content": [{"type": "text", "text": str(os.getpid())}]}


def main(words: list[str]) -> None:
    """Serve, or fail."""
    for word in words:
        if word == "exit":
            said = f"password='hunter22'\n{os.environ['SAID']}\nno database"
            print(said, file=sys.stderr, flush=True)
            sys.exit(3)
        if word == "sleep":
            time.sleep(600)
        with open(word, "a", encoding="utf-8") as file:
            file.write(f"{os.getpid()}\n")
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        result = answer(message["method"], message.get("params", {}))
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
        if result is None:
            reply["error"] = {"code": -32601, "message": "Method not found"}
        else:
            reply["result"] = result
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
