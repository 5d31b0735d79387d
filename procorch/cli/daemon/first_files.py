"""What `procorch init` writes: the texts of the files."""

from __future__ import annotations

AGENT = "greeter"
"""The agent of the files."""

_CONFIGURATION = """\
# The configuration of a procorch daemon. `procorch check` prints its errors, `procorch up` starts
# the daemon, and `procorch reload` applies what was changed here.

[daemon]                        # all of it may be left out
dir = ".procorch"               # socket, logs and history; for its user alone
drain_timeout = "25s"           # time to finish what runs, when the daemon ends

[agents.greeter]                # an agent that answers requests
factory = "agents.py:greeter"   # imported in its own process only, never in the daemon
instances = 1                   # how many processes serve its queue
request_timeout = "30s"         # a request that takes longer fails, and its process is replaced
max_restarts = 5                # crashes in a row; then it is FAILED until `procorch reset greeter`
# memory_limit = "512M"         # more, and the process is ended and replaced
# restart = "permanent"         # or "transient" (the default), "temporary"
# env = { MODEL = "small" }     # variables of its environment
# secrets = { OPENAI_API_KEY = "file:/run/secrets/key" }   # read at each start, shown nowhere

# A program for each request; `procorch send count --json '{"file": "agents.py"}'`
# [agents.count]
# command = ["wc", "-l", "{file}"]

# A loop of your own that never ends: the consumer of a queue, a poller.
# [services.consumer]
# run = "agents.py:consumer"

# Any program, kept alive.
# [services.web]
# command = ["python3", "-m", "http.server", "8000", "--bind", "127.0.0.1"]
# ready = { port = 8000 }
"""

_AGENTS = '''\
"""The agents of procorch.toml. Each runs in a process of its own."""

import os


def greeter():
    """The factory: called once in each process, before its first request.

    Load what takes long here: a model, a client, a connection.
    """
    answered = 0

    def answer(messages):
        """Called for each request; what it returns is the answer."""
        nonlocal answered
        answered += 1
        print(f"request {answered}")  # goes to the log: procorch logs greeter
        text = messages[-1].text
        return f"You said {text!r}. This is answer {answered} of process {os.getpid()}."

    return answer
'''

FILES = {"procorch.toml": _CONFIGURATION, "agents.py": _AGENTS}
"""The text of each file."""
