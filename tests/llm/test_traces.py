"""The trace context of a request reaches its worker, the libraries there, and other agents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace

from procorch import AgentOptions, OrchestratedHandle, current
from tests.llm.libraries import libraries, of_openai_agents
from tests.llm.server import Provider
from tests.process.conftest import PATIENCE

Begin = Callable[..., OrchestratedHandle]

TRACE = "0af7651916cd43dd8448eb211c80319c"
GIVEN = f"00-{TRACE}-b7ad6b7169203331-01"


def tells() -> Callable[[], AgentOptions]:
    """An agent that says which trace it belongs to, as procorch and as OpenTelemetry have it."""

    def factory() -> AgentOptions:
        def handle(messages: Any) -> Any:
            span = trace.get_current_span().get_span_context()
            return current().traceparent, f"{span.trace_id:032x}", f"{span.span_id:016x}"

        return AgentOptions(handler=handle)

    return factory


def test_the_span_of_the_caller_or_one_that_is_given_reaches_the_worker(begin: Begin) -> None:
    agent = begin(tells())
    assert agent.send_message("hi").output == (None, "0" * 32, "0" * 16)
    expected = (GIVEN, TRACE, "b7ad6b7169203331")
    assert agent.send_message("hi", traceparent=GIVEN).output == expected
    assert agent.submit("hi", traceparent=GIVEN, timeout=PATIENCE).result().output == expected

    span = trace.SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=trace.TraceFlags(1))
    with trace.use_span(trace.NonRecordingSpan(span)):
        told, of_trace, of_span = agent.submit("hi").result(PATIENCE).output
    assert told == f"00-{0xABC:032x}-{0xDEF:016x}-01"
    assert (of_trace, of_span) == (f"{0xABC:032x}", f"{0xDEF:016x}")
    assert agent.send_message("hi").output == (
        None,
        "0" * 32,
        "0" * 16,
    )  # it ended with its request


@pytest.mark.parametrize(
    ("given", "error"),
    [("abc", ValueError), (f"00-{'0' * 32}-b7ad6b7169203331-01", ValueError), (7, TypeError)],
)
def test_what_is_no_trace_context_is_refused(
    preloaded: Any, given: Any, error: type[Exception]
) -> None:
    for send in (preloaded.handle("first").send_message, preloaded.handle("first").stream):
        with pytest.raises(error, match="traceparent"):
            send("hi", traceparent=given)


class Recorder(trace.Tracer):
    """Notes the name of each span and its trace."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, str]] = []

    def start_span(self, name: str, context: Any = None, *args: Any, **more: Any) -> trace.Span:
        parent = trace.get_current_span(context).get_span_context()
        self.spans.append((name, f"{parent.trace_id:032x}"))
        number = len(self.spans)
        span = trace.SpanContext(parent.trace_id, number, is_remote=False)
        return trace.NonRecordingSpan(span)

    def start_as_current_span(self, name: str, context: Any = None, *args: Any, **more: Any) -> Any:
        return trace.use_span(self.start_span(name, context))


class Provided(trace.TracerProvider):
    def __init__(self, tracer: Recorder) -> None:
        self.tracer = tracer

    def get_tracer(self, *args: Any, **more: Any) -> trace.Tracer:
        return self.tracer


def test_spans_of_pydantic_ai_and_of_agents_that_are_asked_join_the_callers(
    begin: Begin, provider: Provider
) -> None:
    url = provider.url("tools")

    def asker() -> Any:
        from pydantic_ai import Agent
        from pydantic_ai.models.instrumented import InstrumentationSettings
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        recorder = Recorder()

        async def ask() -> str:
            """Ask another agent."""
            return str(await current().ask_async("teller", "hi"))

        def spans() -> str:
            """What was noted."""
            return str(recorder.spans)

        model = OpenAIChatModel("gpt-4o", provider=OpenAIProvider(base_url=url, api_key="k"))
        settings = InstrumentationSettings(tracer_provider=Provided(recorder))
        Agent.instrument_all(settings)
        return Agent(model, tools=[ask, spans])

    begin(tells(), name="teller")
    answer = begin(asker).send_message("ask {}", timeout=PATIENCE, traceparent=GIVEN).text
    assert f"'{TRACE}'" in answer
    assert GIVEN not in answer  # the parent is the span of the tool
    spans = begin(asker).send_message("spans {}", timeout=PATIENCE, traceparent=GIVEN).text
    assert f"'{TRACE}')" in spans
    assert "0" * 32 not in spans


@libraries
def test_a_question_of_any_agent_carries_the_trace(
    begin: Begin, provider: Provider, library: Any
) -> None:
    def ask() -> str:
        """Ask another agent."""
        return str(current().ask("teller", "hi"))

    begin(tells(), name="teller")
    agent = begin(library(provider.url("tools"), tools=[ask]))
    answer = agent.send_message("ask {}", timeout=PATIENCE, traceparent=GIVEN).text
    assert TRACE in answer


def test_a_trace_of_openai_agents_has_the_number_of_the_callers(
    begin: Begin, provider: Provider
) -> None:
    url = provider.url("tools")

    def factory() -> Any:
        import agents

        def number() -> str:
            """The number of the trace."""
            found = agents.get_current_trace()
            return found.trace_id if found else "none"

        made = of_openai_agents(url, tools=[number])()
        agents.set_tracing_disabled(False)
        agents.set_trace_processors([])  # nothing is sent to anybody
        return made

    answer = begin(factory).send_message("number {}", timeout=PATIENCE, traceparent=GIVEN)
    assert answer.text == f"told | trace_{TRACE}"
