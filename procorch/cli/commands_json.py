"""The part of the page of the daemon's commands that tells what ``--json`` prints.

The objects of the page are examples; a test compares their fields with those of a real daemon.
"""

from __future__ import annotations

TEXT = """
## What --json prints

One object in one line, or one a line for `events` and `logs`. Each has `"schema": 1`. This number
rises when a field changes its meaning or goes; new fields may come without that. Times are seconds
since 1970, durations seconds, sizes bytes. `null` means that there is none, or that the daemon does
not know it. Line breaks in the examples are for the page.

### status --json

```json
{
  "schema": 1,
  "daemon": {
    "pid": 6400, "version": "0.1.0",
    "config": "/srv/app/procorch.toml", "dir": "/srv/app/.procorch",
    "state": "running", "ready": true, "release": 1,
    "uptime": 9.2, "cpu": 1.0, "rss": 40632320, "drain_timeout": 25.0
  },
  "agents": [
    {
      "name": "greeter", "kind": "agent", "group": null, "parent": null,
      "state": "READY", "detail": "", "queue": 0, "restarts": 0, "last_exit": null,
      "size": 1, "release": 1, "drift": [],
      "instances": [
        {
          "slot": 0, "pid": 6526, "generation": 1, "state": "READY", "detail": "", "uptime": 7.1,
          "restarts": 0, "last_exit": null, "cpu": 0.01, "rss": 19636224,
          "release": 1, "current": null
        }
      ]
    }
  ]
}
```

- `daemon.state` is `starting`, `running`, `reloading` or `draining`. `ready`: all agents that are
  to run have become ready.
- `kind` is `agent`, `command`, `service` or `program`. `state` is one of the
  [states](../explanation/daemon.md#states); `detail` is what a person wants to know beside it,
  `error` (in `describe`) why the agent has failed.
- `queue`: requests that wait. `size`: how many instances it is to have. `drift`: what an operator
  has changed, one text each.
- An instance has a row under `instances` while its agent runs; `current` is the number of the
  request that it has. `generation` counts its processes.

### describe --json

The row of the agent in `status`, and:

```json
{
  "error": null,
  "config": {
    "place": "procorch.toml:8", "kind": "agent", "factory": "agents.py:greeter",
    "instances": 1, "autostart": true, "env": {},
    "settings": {"max_restarts": 5, "request_timeout": 30.0, "cwd": "/srv/app"}
  },
  "exits": [
    {
      "time": 1795972802.49, "agent": "greeter", "instance": 0, "generation": 1, "pid": 6526,
      "reason": "agent 'greeter' (pid 6526) crashed: SIGSEGV on request 1",
      "signal": "SIGSEGV", "exitcode": null, "place": "SIGSEGV at agents.py:7 in answer",
      "stderr_tail": "", "last_stack": "Fatal Python error: ...", "uptime": 1.98
    }
  ],
  "events": []
}
```

`config` has what the file says, and of secrets only where they come from. `events` are the last
20, as in `events --json`.

### start, stop, restart, scale, pause, resume, reset --json

```json
{"schema": 1, "agents": [{"name": "greeter", "result": "started", "error": null}]}
```

`result` is what happened, such as `started`, `running` (it did already) or `stopped`; `failed`
comes with a text in `error`, and exit code 1.

### reload --json

```json
{
  "schema": 1,
  "release": 2,
  "changes": [{"name": "greeter", "change": "rolling", "keys": ["code"]}],
  "text": ["~ greeter: code"],
  "applied": true
}
```

`change` is `added`, `removed`, `rolling` (processes replaced one by one), `restart` (stopped and
started again), `live` (applied to what runs) or `undone` (changed by hand, and as the file says
again). `keys` are the keys of the file that differ, or what somebody changed by hand; `code` stands
for changed code, variables or secrets. `text` has the difference in lines for people. `applied` is
false for `--dry-run`. Errors are text on standard error; the exit code says
which kind. `rollback --json` has `names`, the replaced agents, and `release`.

### send --json

```json
{
  "schema": 1, "id": 3, "state": "done",
  "text": "You said 'hello'.", "output": "You said 'hello'.", "error": null,
  "metrics": {"wall": 0.0002, "pid": 6526, "generation": 1}, "usage": null, "cost": null
}
```

`state` is `done` or `failed`. `output` is what the agent has returned, `text` the same as text.
`metrics` (with more fields than here), `usage` and `cost` are those of
[AgentResult](../how-to/llm.md). With `failed`, `error` has `type`, `message`, `details` and
`cause`, as in events, and the exit code is 1.

### events --json

```json
{
  "schema": 1, "type": "Ready", "agent": "greeter", "instance": 0, "generation": 1,
  "at": 4043.23, "time": 1795972801.55
}
```

The fields of each type of event are on the page [Events](events.md#as-json).

### logs --json

```json
{
  "schema": 1, "time": 1795972805.58, "agent": "greeter", "instance": 0, "generation": 2,
  "request": 3, "stream": "stdout", "text": "request 1"
}
```

`request` is the request that the process worked on. `stream` is `stdout` or `stderr`. A line that
goes on in the next one has `"continued": true`. A line that stands for output that is missing has
`lost`, the number of bytes.

### Others

| command | fields |
| --- | --- |
| `init` | `files`, `next` (commands to go on with) |
| `check` | `config`, `valid`, `errors` (`file`, `line`, `key`, `text`), `agents` (how many) |
| `up -d` | `pid`, `ready`, `failed` (agents and why they did not start) |
| `down` | `pid`, `ended` |
| `wait` | `ready`, `waiting` (names) |
| `cancel` | `id`, `cancelled` |
| `stack` | `name`, `stacks` (`instance`, `pid`, `stack` each) |
| `disk` | `logs` and `history`, each with `bytes` and `limit` |
| `prune` | `removed`: bytes by kind |
| `logs --rotate` | `rotated` (names of files) |
| `doctor` | `findings` (`name`, `level`, `text`, `advice` each) |
| `systemd-unit` | `unit`, `systemd` (its version), `place` |
"""
"""The end of the page."""
