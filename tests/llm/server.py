"""A provider on loopback that answers as it is told: the errors of a real one, on request.

`http://127.0.0.1:PORT/<scenario>/v1` is the base URL of an OpenAI-compatible service that behaves
as `SCENARIOS` says; `/script/<n>/...` fails as scripted first.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar


def _error(message: str, kind: str, code: str | None = None, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code, **more}}


def _answer(text: str | None, reason: str = "stop", **usage: int) -> dict[str, Any]:
    tokens = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18, **usage}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "gpt-4o-2024-08-06",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": reason,
            }
        ],
        "usage": tokens,
    }


def _calling(name: str, **arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    answer = _answer(None, "tool_calls")
    call = {"id": "c1", "type": "function", "function": function}
    answer["choices"][0]["message"]["tool_calls"] = [call]
    return answer


SCENARIOS: dict[str, tuple[int, dict[str, str], dict[str, Any] | str]] = {
    "ok": (200, {}, _answer("fine")),
    "throttled": (
        429,
        {"retry-after": "1"},
        _error("Rate limit reached for gpt-4o", "tokens", "rate_limit_exceeded"),
    ),
    "throttled-ms": (
        429,
        {"retry-after-ms": "1500"},
        _error("Rate limit reached for gpt-4o", "requests", "rate_limit_exceeded"),
    ),
    "overloaded": (529, {}, _error("Overloaded", "overloaded_error")),
    "quota": (
        429,
        {},
        _error("You exceeded your current quota.", "insufficient_quota", "insufficient_quota"),
    ),
    "quota-in-words": (429, {}, "You exceeded your current quota, check your plan."),
    "401": (401, {}, _error("Incorrect API key", "invalid_request_error", "invalid_api_key")),
    "403": (403, {}, _error("Country not supported", "request_forbidden")),
    "500": (500, {}, _error("The server had an error", "server_error")),
    "503": (503, {"retry-after": "3"}, _error("Try again", "service_unavailable_error")),
    "context": (
        400,
        {},
        _error(
            "This model's maximum context length is 8192 tokens.",
            "invalid_request_error",
            "context_length_exceeded",
        ),
    ),
    "context-in-words": (
        400,
        {},
        _error("the request exceeds the available context size", "exceed_context_size_error"),
    ),
    "filter": (
        400,
        {},
        _error(
            "The response was filtered",
            "invalid_request_error",
            "content_filter",
            innererror={"code": "ResponsibleAIPolicyViolation"},
        ),
    ),
    "filtered-answer": (200, {}, _answer(None, "content_filter")),
    "model": (
        404,
        {},
        _error("The model `x` does not exist", "invalid_request_error", "model_not_found"),
    ),
    "call": (200, {}, _calling("add", a=2, b=3)),
    "long": (200, {}, _answer("too lo", "length")),
    "html": (200, {}, "<html>502 Bad gateway</html>"),
    "cut-json": (200, {}, '{"id": "chatcmpl-1", "choi'),
    "empty": (200, {}, ""),
    "null": (200, {}, "null"),
    "no-choices": (200, {}, {**_answer("fine"), "choices": []}),
    "null-choices": (200, {}, {**_answer("fine"), "choices": None}),
    "error-in-200": (200, {}, _error("Provider returned error", "upstream", "oops")),
    "no-answer": (200, {}, _answer(None)),
    "bad-request": (400, {}, _error("Unknown parameter: 'x'", "invalid_request_error")),
}


def _delta(text: str, reason: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "gpt-4o-2024-08-06",
        "choices": [choice],
        **more,
    }


def _part(reason: str | None = None, **delta: Any) -> dict[str, Any]:
    event = _delta("", reason)
    event["choices"][0]["delta"] = delta
    return event


_CALL = {"index": 0, "id": "c1", "type": "function"}
_BEGIN = [_delta("one "), _delta("two ")]
_END = _delta(
    "three", "stop", usage={"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
)
STREAMS: dict[str, list[dict[str, Any] | str]] = {
    "malformed-event": [*_BEGIN, '{"id": "chatcmpl-1", "choi', _END],
    "event-of-another-kind": [*_BEGIN, "[]", _END],
    "no-text": [_END | {"choices": []}, _END | {"choices": []}],
    "ok": [*_BEGIN, _END],
    "cut": _BEGIN,
    "throttled-late": [*_BEGIN, SCENARIOS["throttled"][2]],
    "thinking": [_part(reasoning_content=f"{n}") for n in range(9)] + [_END],
    "writing-a-call": [
        _part(tool_calls=[_CALL | {"function": {"name": "write", "arguments": '{"text": "'}}]),
        *(_part(tool_calls=[{"index": 0, "function": {"arguments": f"{n}"}}]) for n in range(9)),
        _part("tool_calls", tool_calls=[{"index": 0, "function": {"arguments": '"}'}}]),
        _END,
    ],
    "failed-late": [*_BEGIN, _error("upstream", "server_error", "502")],
}
"""What comes where the answer is streamed."""


def _with_tools(body: dict[str, Any]) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Calls what the user names in words such as `add {"a": 2, "b": 3}; say {}`, then tells what
    the tools have returned."""
    said = body["messages"]
    last = max(n for n, message in enumerate(said) if message["role"] == "user")
    returned = [message["content"] for message in said[last:] if message["role"] == "tool"]
    text = said[last]["content"]
    if not isinstance(text, str):
        text = "".join(part["text"] for part in text)
    if returned or "{" not in text:
        return 200, {}, _answer(" | ".join(["told", *map(str, returned)]))
    answer = _answer(None, "tool_calls")
    answer["choices"][0]["message"]["tool_calls"] = [
        {
            "id": f"c{len(said)}-{n}",
            "type": "function",
            "function": dict(zip(("name", "arguments"), call.strip().split(" ", 1), strict=True)),
        }
        for n, call in enumerate(text.split(";"))
    ]
    return 200, {}, answer


FAULTS: dict[str, tuple[int, dict[str, str], dict[str, Any] | str]] = {
    "throttle": (429, {"retry-after-ms": "20"}, _error("Slow down", "requests", "rate_limit")),
    "garble": (200, {}, '{"id": "chatcmpl-1", "choi'),
}
"""What a word in what the user says last makes of the first answer to it, in "chats"."""


def _all_said(body: dict[str, Any]) -> str:
    """All that the user has said in this conversation."""
    return " ".join(each["content"] for each in body["messages"] if each["role"] == "user")


def _structured(body: dict[str, Any], *, right: bool) -> dict[str, Any]:
    """An answer that is to have a whole number ``people``, as a call or as text."""
    people: Any = 3 if right else "many"
    if body.get("tools"):
        return _calling("final_result", people=people)
    return _answer(json.dumps({"people": people}))


def _in_pieces(answer: dict[str, Any]) -> list[dict[str, Any] | str]:
    """An answer as a stream: each word, or its calls, then the end with the usage."""
    (choice,) = answer["choices"]
    said = choice["message"]
    events: list[dict[str, Any] | str] = [
        _delta(f"{word} ") for word in (said["content"] or "").split(" ") if word
    ]
    for n, call in enumerate(said.get("tool_calls", ())):
        events.append(_part(tool_calls=[{"index": n, **call}]))
    return [*events, _part(choice["finish_reason"]) | {"usage": answer["usage"]}]


class Provider:
    """The server's address, and what it was asked."""

    def __init__(self, port: int) -> None:
        self.port = port

    def url(self, scenario: str) -> str:
        """The base URL of a service that behaves so."""
        return f"http://127.0.0.1:{self.port}/{scenario}/v1"

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The bodies that came in, in order."""
        return _Handler.bodies

    @property
    def times(self) -> list[float]:
        """When they came, on the monotonic clock."""
        return _Handler.times


class _Handler(BaseHTTPRequestHandler):
    bodies: ClassVar[list[dict[str, Any]]] = []
    times: ClassVar[list[float]] = []
    accepted: ClassVar[list[float]] = []
    released: ClassVar[threading.Event] = threading.Event()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.bodies.append(json.loads(body or b"{}"))
        self.times.append(time.monotonic())
        scenario = self.path.split("/")[1]
        if scenario == "silent":  # no answer until the test is over
            self.released.wait(30)
            return
        if scenario == "call-then-fail":
            scenario = "call" if len(self.bodies) == 1 else "500"
        if scenario == "tools":
            answer = _with_tools(self.bodies[-1])
            if self.bodies[-1].get("stream"):
                self._stream(_in_pieces(answer[2]))
            else:
                self._answer(*answer)
            return
        if scenario == "chats":
            said = _all_said(self.bodies[-1])
            fault = said.rsplit("-", 1)[-1] if self._is_new(said) else ""
            if fault == "kill":
                os.kill(int(self.headers["x-pid"]), signal.SIGKILL)
                return
            self._answer(*FAULTS.get(fault, (200, {}, _answer(said))))
            return
        if scenario == "structure":
            self._answer(200, {}, _structured(self.bodies[-1], right=len(self.bodies) > 1))
            return
        if scenario == "20-a-second":
            recent = [at for at in self.accepted if at > self.times[-1] - 1.0]
            scenario = "throttled" if len(recent) >= 20 else "ok"
            if scenario == "ok":
                self.accepted.append(self.times[-1])
        if scenario == "throttled-once":
            scenario = "throttled" if len(self.bodies) == 1 else "ok"
        if self.bodies[-1].get("stream") and scenario in STREAMS:
            if scenario == "writing-a-call" and len(self.bodies) > 1:
                scenario = "ok"
            self._stream(STREAMS[scenario])
            return
        self._answer(*SCENARIOS[scenario])

    def _is_new(self, said: str) -> bool:
        """Whether this has not been asked before."""
        return [_all_said(body) for body in self.bodies].count(said) == 1

    def _answer(self, status: int, headers: dict[str, str], answer: dict[str, Any] | str) -> None:
        data = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        malformed = status == 200 or not isinstance(answer, str)
        kind = "application/json" if malformed else "text/plain"
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, events: list[dict[str, Any] | str]) -> None:
        """Server-sent events in chunks; without `_END` the connection is lost in the middle."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        texts = [event if isinstance(event, str) else json.dumps(event) for event in events]
        said = [f"data: {text}\n\n".encode() for text in texts]
        if events[-1] is _END or "usage" in events[-1] or events is STREAMS["no-text"]:
            said += [b"data: [DONE]\n\n", b""]  # an empty chunk ends it
        for data in said:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def provider() -> Iterator[Provider]:
    """Run the server in a thread of this process."""
    _Handler.bodies.clear()
    _Handler.times.clear()
    _Handler.accepted.clear()
    _Handler.released.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield Provider(server.server_address[1])
    finally:
        _Handler.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
