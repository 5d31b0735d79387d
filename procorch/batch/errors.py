"""What can be wrong with a batch as a whole::

    BatchError
    |-- BatchInputError       a file or an item that cannot be read
    |   `-- BatchInputChanged  it is not what it was when the batch began
    |-- BatchHalted           the halt policy ended it
    `-- JournalError
        |-- JournalBusy       another runner writes it
        |-- JournalFenced     another runner has taken it over
        |-- JournalMismatch   it belongs to another batch, or the input has changed
        `-- JournalDamaged    what it holds is not what was written

What is wrong with one item is an `AgentError`, and part of its outcome.
"""

from __future__ import annotations


class BatchError(Exception):
    """Base of what procorch raises about a batch."""


class BatchInputError(BatchError):
    """The input is missing, malformed, or names one item twice; the text says where."""


class BatchInputChanged(BatchInputError):
    """The input has changed since the batch began; the text says which items."""


class BatchInputWarning(UserWarning):
    """Something about the input that the user should know; the batch goes on."""


class BatchHalted(BatchError):
    """The halt policy was met; what was finished is kept, and the batch can be resumed."""


class JournalError(BatchError):
    """The journal cannot be used; the text says why and what to do."""


class JournalBusy(JournalError):
    """Another process writes this journal; the text names it."""


class JournalFenced(JournalError):
    """Another runner has taken this journal over; nothing of ours is written any more."""


class JournalMismatch(JournalError):
    """The journal is that of another batch: another factory, input, shard or version."""


class JournalDamaged(JournalError):
    """A row, or the file, is not what was written."""
