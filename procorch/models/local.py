"""A GGUF model in the agent's own process, by xllamacpp (extra `[local-model]`).

The library generates in native code on the thread that asks it; that is a thread beside the event
loop, so that the agent can be told to stop at any token (N8). Workers map the same file, so the
weights are in memory once. One thread a worker is the rule: more workers do more than more threads.
"""

from __future__ import annotations

import asyncio
import importlib.util
import secrets
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from procorch.agents.model_turns import TurnContext
from procorch.agents.options import AgentOptions
from procorch.errors import ContextWindowOverflow, StartError, StreamError
from procorch.messages import AssistantMessage, LlmMessage, StopReason, Usage
from procorch.models.store import smollm2_file

_STOPS = {"stop": StopReason.STOP, "length": StopReason.LENGTH}


_PROMPT = "You are a helpful AI assistant."
"""Without any, the model has one of its own, with which it rambles."""


def smollm2(
    system_prompt: str = _PROMPT,
    *,
    max_tokens: int = 256,
    temperature: float = 0.0,
    seed: int = 1,
    stop: Sequence[str] = (),
    context: int = 2048,
    threads: int = 1,
    checkpoint: bool = False,
    keep_history: bool = True,
) -> AgentOptions:
    """Options of an agent that runs SmolLM2-135M-Instruct in its process; a factory as it is.

    Args:
        max_tokens: the longest answer.
        temperature: 0.0 gives the same answer every time.
        seed: of the answers where the temperature is not 0.
        stop: texts that end an answer, where the model writes one of them; it is left out.
        context: tokens of the conversation that fit, 8192 at most.
        threads: of one worker.
        checkpoint, keep_history: see `AgentOptions`.

    Raises:
        StartError: permanent: xllamacpp is not installed.
        PluginError: the weights cannot be downloaded (`smollm2_file`).
    """
    if importlib.util.find_spec("xllamacpp") is None:  # before 93 MB are downloaded
        raise StartError(
            "a local model needs xllamacpp: pip install 'procorch[local-model]'",
            phase="factory",
            permanent=True,
        )
    settings = {
        "max_tokens": max_tokens,
        "temperature": temperature,
        "seed": seed,
        "stop": list(stop),
    }
    model = LocalModel(smollm2_file(), "SmolLM2-135M-Instruct", settings, context, threads)
    return AgentOptions(
        system_prompt, stream_fn=model, checkpoint=checkpoint, keep_history=keep_history
    )


class LocalModel:
    """A `stream_fn` that yields the tokens of a GGUF model as they come.

    Args:
        file: the weights.
        name: told in every message.
        settings: of every request, as an OpenAI-compatible server has them.
        context: tokens that fit.
        threads: to generate with.
    """

    def __init__(
        self, file: Path, name: str, settings: dict[str, Any], context: int, threads: int
    ) -> None:
        self._file = file
        self._name = name
        self._settings = settings
        self._context = context
        self._threads = threads
        self._server: Any = None

    def ready(self) -> None:
        """Load the weights, before the first request (N12).

        Raises:
            RuntimeError: the file cannot be loaded.
        """
        import xllamacpp

        given = xllamacpp.CommonParams()
        given.model.path = str(self._file)
        given.n_ctx = self._context
        given.n_parallel = 1
        given.cpuparams.n_threads = given.cpuparams_batch.n_threads = self._threads
        given.cache_ram_mib = 0  # it would keep prompts of gigabytes
        given.verbosity = -1
        # It listens on loopback, where others are too: nobody is told the key.
        given.api_keys = [secrets.token_hex(32)]
        self._server = xllamacpp.Server(given)

    async def __call__(self, context: TurnContext) -> AsyncIterator[Any]:
        """One turn: text as it comes, then how it ended and what it took.

        Raises:
            ContextWindowOverflow: the conversation does not fit.
            StreamError: any other refusal.
        """
        if self._server is None:
            self.ready()
        loop, chunks = asyncio.get_running_loop(), asyncio.Queue[Any]()
        stop = threading.Event()

        def come(chunk: Any) -> bool:
            loop.call_soon_threadsafe(chunks.put_nowait, chunk)
            return stop.is_set()  # true ends the generation

        def generate() -> None:
            try:
                self._server.handle_chat_completions(self._request(context), come)
            finally:
                loop.call_soon_threadsafe(chunks.put_nowait, None)

        work = loop.run_in_executor(None, generate)
        try:
            end = AssistantMessage(provider="xllamacpp", model=self._name)
            reason, usage = StopReason.STOP, Usage()
            while (chunk := await chunks.get()) is not None:
                if "error" in chunk:
                    raise _error(chunk["error"])
                for choice in chunk["choices"]:
                    if choice["finish_reason"] is not None:
                        reason = _STOPS.get(choice["finish_reason"], StopReason.STOP)
                    if choice["delta"].get("content"):
                        yield choice["delta"]["content"]
                if "usage" in chunk:
                    usage = _usage(chunk["usage"])
            await work
            yield AssistantMessage(
                (), end.timestamp, end.provider, end.model, usage, stop_reason=reason
            )
        finally:
            stop.set()
            # It is at work on the model until it has seen that: nobody else may be, until then.
            await asyncio.wait([work])

    def _request(self, context: TurnContext) -> dict[str, Any]:
        said = [{"role": _role(m), "content": m.text} for m in context.messages]
        if context.system_prompt:
            said.insert(0, {"role": "system", "content": context.system_prompt})
        options = {"include_usage": True}
        return {"messages": said, "stream": True, "stream_options": options, **self._settings}


def _role(message: LlmMessage) -> str:
    return "assistant" if isinstance(message, AssistantMessage) else "user"


def _usage(told: dict[str, Any]) -> Usage:
    cached = (told.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    return Usage(told["prompt_tokens"] - cached, told["completion_tokens"], cached)


def _error(told: dict[str, Any]) -> Exception:
    kind = ContextWindowOverflow if told.get("type") == "exceed_context_size_error" else StreamError
    return kind(f"{kind()}: {told.get('message')}")
