"""Cells of a notebook, each run in the namespace of __main__, some of them twice."""

import pytest

import __main__
from tests.wire.peer import Refused


def cell(source: str) -> None:
    exec(compile(source, "<cell>", "exec"), __main__.__dict__)


cell("""
from dataclasses import dataclass
import pytest

from tests.wire.peer import Worker

LIMIT = 1

def helper(number):
    return number + LIMIT

@dataclass
class Task:
    number: int

def agent(message):
    if callable(message):
        return message()
    return isinstance(message, Task), helper(message.number), message

worker = Worker(lambda: agent)
ask = worker.ask
answer = ask(Task(1))
assert answer == (True, 2, Task(1)) and type(answer[2]) is Task
""")
cell("""
def helper(number):
    return number + 100
""")
cell("""
assert ask(Task(1))[1] == 2, "nothing that uses the new helper was sent"

def use():
    return helper(1)

assert ask(use) == 101
assert ask(Task(1))[1] == 101
""")
cell("""
@dataclass
class Task:
    number: int
    extra: str = "new"

answer = ask(Task(1))
assert answer == (True, 101, Task(1, "new")) and type(answer[2]) is Task
""")
cell("""
def shout(self):
    return self.extra.upper()

Task.shout = shout
assert ask(Task(1).shout) == "NEW"
""")
cell("""
def limit():
    return LIMIT

def raise_limit():
    global LIMIT
    LIMIT += 10
    return LIMIT

assert ask(limit) == 1
assert ask(raise_limit) == 11
assert ask(limit) == 11 and LIMIT == 1, "what the worker binds itself stays"
LIMIT = 5
assert ask(limit) == 5, "what the notebook binds anew arrives"
""")
cell("""
def early():
    return late()
""")
with pytest.raises(Refused, match="name 'late' is not defined"):
    cell("ask(early)")
cell("""
def late():
    return "late"

assert ask(early) == "late"
worker.close()
""")
