"""One worker as its bridge sees it: it is placed, its lease is prolonged, messages are passed on.

A worker is not reported as lost before it has ended for certain: `GrantedLease.lost_at`. Until the
first grant there is no worker, so one that is not wanted any more is given up at once.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Collection
from typing import Any, NamedTuple, Protocol

from procorch.launch.base import Cause
from procorch.launch.forkserver import deadline
from procorch.launch.ray import lease, messages
from procorch.launch.ray.ordering import PARKED, Inbox, Outbox
from procorch.launch.ray.process import unplaced
from procorch.launch.ray.transport import (
    Failure,
    Message,
    Packet,
    explain_call,
    pack,
    portable,
    received,
    unpacked,
)
from procorch.wire.payload import Content

_LOOK = 0.5
"""Seconds between two looks why a worker is not placed."""
_AGAIN = 0.1
"""Seconds until a call is made again that Ray could not pass on."""
CALLS = 8
"""Exchanges with a relay at a time, of which `PARKED` wait there; further messages go together."""
_NEVER = "its node is being chosen"


class Cluster(Protocol):
    """What a member needs of its bridge."""

    @property
    def connect(self) -> messages.Connect:
        """What the bridge was started with."""
        ...

    @property
    def lost(self) -> Collection[str]:
        """The ids of the nodes that were lost."""
        ...

    def create(self, begin: messages.Begin) -> Any:
        """Have an actor placed; it blocks for a moment."""
        ...

    def destroy(self, actor: Any) -> None:
        """Kill an actor; returns at once."""
        ...

    async def why_waiting(self, begin: messages.Begin) -> str:
        """Why an actor is not placed yet."""
        ...

    async def is_there(self, node: str) -> bool:
        """Whether the raylet of a node exists: a process that is stopped counts."""
        ...

    def lose(self, node: str, host: str, why: str) -> None:
        """A node does not answer, which is reported."""
        ...

    def report(self, number: int, head: bytes | messages.Report, body: Any = b"") -> None:
        """Pass a report on to the parent."""
        ...


class _Elsewhere(Exception):
    """Other nodes may be used than when Ray was asked to place the relay. It has no grant yet."""


class _Place(NamedTuple):
    host: str
    node: str
    token: int


class Member:
    """One worker.

    Args:
        number: how parent and bridge call it.
    """

    def __init__(
        self, number: int, begin: messages.Begin, factory: Content, cluster: Cluster
    ) -> None:
        self._number = number
        self._begin = begin
        self._factory = portable(factory)
        self._cluster = cluster
        self._outbox: Outbox[Message] = Outbox()
        self._inbox: Inbox[Message] = Inbox()
        self._sent = 0
        self._exchanging = False
        self._granted = False
        self._over = False
        self._actor: Any = None
        self._why = _NEVER
        self._avoided: set[str] = set()
        self._failure: Failure | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] = asyncio.ensure_future(self._run())

    @property
    def over(self) -> bool:
        """Whether its end was reported."""
        return self._over

    def take(self, head: bytes, body: Content) -> None:
        """A message of the parent for the relay."""
        if not self._granted:
            command = messages.decode_command(head)
            if isinstance(command, messages.Kill):
                # Not by the task: one that has not begun yet cannot notice that it is cancelled.
                info = unplaced(command.signal, self._why)
                self._end(messages.Ended(info.cause.value, signal=info.signal, detail=info.detail))
                return
        self._outbox.put((head, portable(body)))
        if self._granted:
            self._exchange_soon()

    async def _run(self) -> None:
        place = await self._place()
        if place is not None:
            self._granted = True
            self._exchange_more()
            await self._prolong(place)

    # ---- placing

    async def _place(self) -> _Place | None:
        """Have the relay placed; None: that failed, and was reported."""
        while True:
            try:
                return await self._try_to_place()
            except _Elsewhere:
                self._cluster.destroy(self._actor)
                continue
            except Exception as error:
                failure = explain_call(error)
            if not failure.again:
                self._refuse(failure.reason, failure.text)
                return None
            await asyncio.sleep(_AGAIN)

    async def _try_to_place(self) -> _Place | None:
        self._avoided = {*self._cluster.lost}
        await asyncio.to_thread(self._create)
        connect = self._cluster.connect
        answer = asyncio.ensure_future(
            _result(
                self._actor.begin.remote(
                    connect.version, connect.lease, messages.encode(self._begin), self._factory
                )
            )
        )
        while not answer.done():
            await asyncio.wait({answer}, timeout=_LOOK)
            if self._avoided != {*self._cluster.lost}:
                answer.cancel()
                raise _Elsewhere
            if not answer.done():
                self._tell_why(await self._cluster.why_waiting(self._begin))
        version, python, host, node, token = answer.result()
        ours = platform.python_version_tuple()[:2]
        if version != connect.version:
            why = f"node {node[:8]} ({host}) has procorch {version}, this program {connect.version}"
        elif python.split(".")[:2] != list(ours):
            why = f"node {node[:8]} ({host}) has Python {python}, this program {'.'.join(ours)}"
        else:
            return _Place(host, node, token)
        self._refuse("handshake", why)
        return None

    def _create(self) -> None:
        actor = self._cluster.create(self._begin)
        if not self._over:  # else Ray ends an actor that nobody refers to
            self._actor = actor

    def _tell_why(self, why: str) -> None:
        if why != self._why:
            self._why = why
            self._cluster.report(self._number, messages.Waiting(why))

    def _refuse(self, reason: str, text: str) -> None:
        self._end(messages.Ended(Cause.START_FAILED.value, detail=text, reason=reason))

    # ---- serving

    async def _prolong(self, place: _Place) -> None:
        """Prolong the lease until the relay has not answered for too long."""
        connect = self._cluster.connect
        granted, token = lease.GrantedLease(connect.lease), place.token
        granted.answered(deadline.now())
        while (left := granted.lost_at - deadline.now()) > 0:
            answer = asyncio.ensure_future(
                _result(self._actor.beat.remote(token, self._inbox.taken))
            )
            await asyncio.wait({answer}, timeout=left)
            if not answer.done():
                answer.cancel()
                break
            try:
                token, seen = answer.result()
            except Exception as error:
                self._failure = explain_call(error)
                await asyncio.sleep(_AGAIN)
                continue
            granted.answered(deadline.now())
            self._failure = None
            self._cluster.report(self._number, seen)
            await asyncio.sleep(lease.interval(connect.lease))
        await self._lose(place, granted.silent_for(deadline.now()))

    async def _lose(self, place: _Place, silent: float) -> None:
        failure, at = self._failure, f"node {place.node[:8]} ({place.host})"
        alone = failure is not None and failure.relay_alone
        if alone and await self._cluster.is_there(place.node):
            why = f"its relay on {at} has died"
        else:
            why = f"{at} has not answered for {silent:.1f} s"
            self._cluster.lose(place.node, place.host, why)
        self._end(messages.Ended(Cause.LOST.value, maybe_alive=True, detail=why))

    def _end(self, ended: messages.Ended) -> None:
        if not self._over:
            self._over = True
            self._task.cancel()
            self._cluster.report(self._number, ended)
            if self._actor is not None:
                self._cluster.destroy(self._actor)

    # ---- messages in both directions

    def _exchange_soon(self) -> None:
        if not self._exchanging:
            self._exchanging = True
            asyncio.get_running_loop().call_soon(self._exchange_more)

    def _exchange_more(self) -> None:
        """Send what waits, and have calls wait at the relay for its reports."""
        self._exchanging = False
        while not self._over and len(self._calls) < CALLS:
            batch = self._outbox.after(self._sent)
            if not batch and len(self._calls) >= PARKED:
                return
            self._sent += len(batch)
            call = asyncio.ensure_future(self._exchange(batch))
            self._calls.add(call)
            call.add_done_callback(self._exchanged)

    def _exchanged(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._exchange_more()

    async def _exchange(self, batch: list[tuple[int, Message]]) -> None:
        again = False
        while not self._over:
            packet = pack(Packet(batch, self._inbox.taken, again))
            try:
                answer = unpacked(await self._actor.exchange.remote(packet))
            except Exception as error:
                # Whether it is lost, `_prolong` decides.
                self._failure = explain_call(error)
                await asyncio.sleep(_AGAIN)
                again = True
                continue
            self._outbox.confirm(answer.taken)
            for head, body in self._inbox.feed(answer.messages):
                self._pass_on(head, body)
            return

    def _pass_on(self, head: bytes, body: Any) -> None:
        report = messages.decode_report(head)
        if isinstance(report, messages.Ended):
            self._end(report)
        elif not self._over:
            self._cluster.report(self._number, head, received(body))


async def _result(reference: Any) -> Any:
    return await reference
