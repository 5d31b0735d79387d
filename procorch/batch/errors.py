"""Errors of a batch as a whole::

    BatchError
    |-- BatchInputError       a file or an item that cannot be read
    |   `-- BatchInputChanged  it has changed since the batch began
    |-- BatchHalted           the halt policy ended it
    `-- JournalError
        |-- JournalBusy       another runner writes it
        |-- JournalFenced     another runner has taken it over
        |-- JournalMismatch   it belongs to another batch, or the input has changed
        `-- JournalDamaged    a part of it is not what was written

The error of one item is an `AgentError`, and part of its outcome.
"""

from __future__ import annotations


class BatchError(Exception):
    """Base class of the errors of a batch as a whole."""


class BatchInputError(BatchError):
    """The input is missing, malformed, or names one item twice; the text says where."""


class BatchInputChanged(BatchInputError):
    """The input has changed since the batch began; the text says which items."""


class BatchInputWarning(UserWarning):
    """Something about the input that the user should know; the batch goes on."""


class BatchHalted(BatchError):
    """The halt policy has ended the batch; finished items are kept, and it can be resumed."""


class JournalError(BatchError):
    """The journal cannot be used; the text says why, and what to do."""


class JournalBusy(JournalError):
    """Another process writes this journal; the text names it."""


class JournalFenced(JournalError):
    """Another runner has taken this journal over; this one writes nothing more."""


class JournalMismatch(JournalError):
    """The journal is that of another batch: another factory, input, shard or version."""


class JournalDamaged(JournalError):
    """A row of the journal, or the file, is not what was written."""
