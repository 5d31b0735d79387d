"""A team of agents: a planner that asks two researchers and a critic, each in its own process.

    python team.py                     # scripted answers: no model, no key
    python team.py --model smollm2     # a real model in each process: procorch[local-model]
    python team.py --model openai:gpt-4o-mini                        # procorch[llm] and a key

One of the researchers is killed in the middle of its work. It is restarted and asked again; the
planner, which has waited for it, has lost nothing. What the whole team used is on the answer.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import replace

from procorch import (
    Agent,
    AgentCrashed,
    AgentMessage,
    AgentOptions,
    AgentOrchestrator,
    AgentResult,
    Cost,
    ServiceSupervisor,
    Usage,
    current,
)

RESEARCHERS = {"historian": "You know history.", "geographer": "You know geography."}


def options(model: str, prompt: str) -> AgentOptions:
    """An agent with that model, which keeps its conversation over restarts."""
    if model == "scripted":
        return AgentOptions(prompt, stream_fn=scripted, checkpoint=True)
    if model == "smollm2":
        from procorch.models import smollm2

        return smollm2(prompt, max_tokens=60, checkpoint=True)
    return AgentOptions(prompt, model, checkpoint=True)


def scripted(context):  # type: ignore[no-untyped-def]
    """A model that says how long the conversation is, and what it has been asked."""
    yield f"({len(context.messages)}) {context.system_prompt} {context.messages[-1].text[:40]}"
    yield Usage(input=10, output=5)


class Planner:
    """Asks its researchers side by side, writes, and has the critic read it."""

    def __init__(self, model: str) -> None:
        self.writer = Agent(options(model, "You write one short paragraph."))

    async def handle(self, messages: list[AgentMessage]) -> AgentResult:
        topic = messages[-1].text
        notes = await asyncio.gather(
            *(consult(name, f"Tell me one fact about {topic}.") for name in RESEARCHERS)
        )
        found = "\n".join(note.text for note in notes)
        draft: AgentResult = await self.writer.respond(f"Write about {topic}:\n{found}")
        review = await consult("critic", f"Is this good? Say why.\n{draft.text}")
        team = [*notes, draft, review]
        return replace(
            draft,
            output={"text": draft.text, "review": review.text},
            usage=sum((part.usage for part in team), Usage()),
            cost=sum((part.cost for part in team), Cost()),
        )


async def consult(name: str, question: str) -> AgentResult:
    """What a colleague answers; one that died is asked once more, when it has been restarted."""
    try:
        answer: AgentResult = await current().ask_async(name, question)
    except AgentCrashed as death:
        print(f"{current().agent}: {death.agent} died of {death.signal}; asking again", flush=True)
        answer = await current().ask_async(name, question)
    return answer


def researcher(model: str, prompt: str, dies: bool) -> Callable[[], AgentOptions]:
    """One that is killed the first time it is asked, if it `dies`."""

    def factory() -> AgentOptions:
        made = options(model, prompt)
        if not dies or current().generation > 1:
            return made
        return replace(made, stream_fn=lambda _: os.kill(os.getpid(), signal.SIGKILL), model=None)

    return factory


def main(model: str) -> None:
    with AgentOrchestrator(supervisor=ServiceSupervisor()) as orch:
        orch.add_agent("planner", lambda: Planner(model))
        for name, prompt in RESEARCHERS.items():
            orch.add_child(name, "planner", researcher(model, prompt, dies=name == "historian"))
        orch.add_child("critic", "planner", lambda: options(model, "You are a strict critic."))
        planner = orch.spawn_tree("planner")["planner"]
        for topic in ("Paris", "Rome"):
            result = planner.send_message(topic, timeout=120)
            print(f"{topic}: {result.output['text']}")
            print(f"critic: {result.output['review']}")
            print(
                f"used by the team: {result.usage.input + result.usage.cache_read} tokens in, "
                f"{result.usage.output} out, {result.cost.total:.4f} $"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="scripted")
    main(parser.parse_args().model)
