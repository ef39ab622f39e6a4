"""One attempt at vectors of texts: a call for each batch that the far end takes, put together in order."""

import asyncio

from services.provider.chat import Delta, Finish
from services.provider.failure import CallFailedError, Failure, FailureKind
from services.provider.flows.running import Running
from services.provider.remote.calling import Remote
from services.provider.target import Target
from services.provider.texts import NO_VECTORS, Texts


async def run(remote: Remote, target: Target, texts: Texts, running: Running) -> None:
    """Asks for the vectors that are not there yet, batch by batch; what came stays when a later batch fails."""
    made = running.answer.vectors or NO_VECTORS
    try:
        async with asyncio.timeout(target.timeouts.total.total_seconds()):
            for batch in remote.batches(target, texts, len(made.items)):
                more = await remote.embed(target, batch)
                if made.items and more.dimensions != made.dimensions:
                    detail = f"vectors of {more.dimensions} numbers follow on some of {made.dimensions}"
                    raise CallFailedError(Failure(FailureKind.MALFORMED, detail))
                made = made.plus(more)
                running.add(Delta(vectors=made, usage=made.usage, model=made.model))
    except TimeoutError as error:
        raise CallFailedError(Failure(FailureKind.TIMEOUT, "the calls for all texts took too long together")) from error
    running.add(Delta(finish=Finish.STOP))
