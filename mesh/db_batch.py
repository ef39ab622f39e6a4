"""Write transactions as the writer's connection runs them: several jobs, each under its own savepoint, one commit."""

import contextvars
import sqlite3
import time
from asyncio import Future
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from mesh import db_errors
from mesh.remembered import Remembered
from mesh.transaction import Transaction

# between two tries to have the lock that another process holds
_AGAIN_SECONDS = 0.005
T = TypeVar("T")


@dataclass
class Job:
    """A write that waits for its turn, and then for its commit."""

    work: Callable[[Transaction], Awaitable[Any]]
    context: contextvars.Context
    done: Future[Any]
    brief: bool = False
    result: Any = None
    failure: BaseException | None = None
    callbacks: list[Callable[[], None]] = field(default_factory=list)


def write(batch: Sequence[Job], memory: Remembered, patience: float, connection: sqlite3.Connection) -> None:
    """The whole of it; waits so many seconds for another process's lock. The jobs' answers may leave when it returns."""
    deadline = time.monotonic() + patience
    while not begin(connection):
        if time.monotonic() >= deadline:
            # says what stands in the way
            connection.execute("BEGIN IMMEDIATE")
            break
        time.sleep(_AGAIN_SECONDS)
    run(batch, memory, connection)
    commit(memory, connection)


def begin(connection: sqlite3.Connection) -> bool:
    """Begins a transaction; False when another process holds the lock."""
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if db_errors.is_busy(error):
            return False
        raise
    return True


def run(batch: Sequence[Job], memory: Remembered, connection: sqlite3.Connection) -> None:
    """Runs the jobs in the transaction that has begun; each that fails undoes only itself."""
    try:
        memory.begin(connection)
        if len(batch) == 1:
            # a savepoint costs a copy of every page that the job changes
            if not _run_job(batch[0], memory, connection):
                connection.execute("ROLLBACK")
            return
        for job in batch:
            connection.execute("SAVEPOINT job")
            if not _run_job(job, memory, connection):
                connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
    except BaseException:
        _undo(memory, connection)
        raise


def commit(memory: Remembered, connection: sqlite3.Connection) -> None:
    """Brings to the disk what the jobs did."""
    try:
        if connection.in_transaction:
            connection.execute("COMMIT")
    except BaseException:
        _undo(memory, connection)
        raise


def _undo(memory: Remembered, connection: sqlite3.Connection) -> None:
    memory.clear()
    with suppress(sqlite3.Error):
        connection.execute("ROLLBACK")


def _run_job(job: Job, memory: Remembered, connection: sqlite3.Connection) -> bool:
    """One job in the circumstances of its caller; False when it failed and what it did must be undone."""
    transaction = Transaction(connection, memory)
    # it may be tried again
    job.failure = None
    try:
        job.result = job.context.run(finish, job.work, transaction)
        job.callbacks = transaction.callbacks
    except Exception as error:
        if isinstance(error, sqlite3.OperationalError) and db_errors.passes(error):
            raise
        job.failure = error
        transaction.undone()
        return False
    return True


def finish(work: Callable[[Transaction], Awaitable[T]], transaction: Transaction) -> T:
    """Runs a coroutine to its end here and now: nothing that a transaction offers makes it wait."""
    steps = work(transaction).__await__()
    try:
        next(steps)
    except StopIteration as end:
        return cast(T, end.value)
    steps.close()
    raise RuntimeError("the work of a transaction may await the transaction only: no network, no sleep, no other task")
