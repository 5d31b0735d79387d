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
    """Base class of the errors of a batch as a whole.

    Example:
        >>> issubclass(JournalBusy, BatchError), issubclass(BatchInputError, BatchError)
        (True, True)
    """


class BatchInputError(BatchError):
    """The input is missing, malformed, or names one item twice; the text says where.

    Example:
        >>> print(BatchInputError("items.jsonl:3: not JSON"))
        items.jsonl:3: not JSON
    """


class BatchInputChanged(BatchInputError):
    """The input has changed since the batch began; the text says which items.

    Example:
        >>> print(BatchInputChanged("item 7 of items.jsonl is another one than before"))
        item 7 of items.jsonl is another one than before
    """


class BatchInputWarning(UserWarning):
    """Something about the input that the user should know; the batch goes on.

    Example:
        >>> import warnings
        >>> warnings.simplefilter("ignore", BatchInputWarning)
    """


class BatchHalted(BatchError):
    """The halt policy has ended the batch; finished items are kept, and it can be resumed.

    Example:
        >>> print(BatchHalted("halted: 10 of 100 items have failed"))
        halted: 10 of 100 items have failed
    """


class JournalError(BatchError):
    """The journal cannot be used; the text says why, and what to do.

    Example:
        >>> issubclass(JournalMismatch, JournalError)
        True
    """


class JournalBusy(JournalError):
    """Another process writes this journal; the text names it.

    Example:
        >>> print(JournalBusy("process 4127 writes this journal"))
        process 4127 writes this journal
    """


class JournalFenced(JournalError):
    """Another runner has taken this journal over; this one writes nothing more.

    Example:
        >>> print(JournalFenced("another runner has taken this journal over"))
        another runner has taken this journal over
    """


class JournalMismatch(JournalError):
    """The journal is that of another batch: another factory, input, shard or version.

    Example:
        >>> print(JournalMismatch("the journal is that of another factory"))
        the journal is that of another factory
    """


class JournalDamaged(JournalError):
    """A row of the journal, or the file, is not what was written.

    Example:
        >>> print(JournalDamaged("row 17 of the journal is not what was written"))
        row 17 of the journal is not what was written
    """
