"""The intent classifier: loads the model that belongs to the examples, or has it trained once, beside everything else."""

import asyncio
import hashlib
import json
import logging
import os
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from tooloo.error.v1.error_reason_pb2 import ErrorReason

from mesh import errors
from services.orchestration import intent
from services.orchestration.settings import OrchestrationSettings

log = logging.getLogger(__name__)
_CHECKOUT = Path(__file__).resolve().parents[3]
_RETRY_S = 30.0
_SOON = timedelta(seconds=2)


class Classifier:
    """Reads intents from texts. Until `prepare` has ended, readers wait."""

    def __init__(self, settings: OrchestrationSettings) -> None:
        self._settings = settings
        self.intents = settings.examples.intents
        self._model: intent.Model | None = None
        self._ready = asyncio.Event()

    @property
    def model(self) -> intent.Model | None:
        """The model, or None while it is being trained."""
        return self._model

    async def read(self, text: str) -> intent.Reading:
        """Classifies a text; UNAVAILABLE when the classifier does not get ready in the time that the settings give."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.classifier_wait.total_seconds()):
                await self._ready.wait()
        if self._model is None:
            reason = ErrorReason.ERROR_REASON_NOT_READY
            raise errors.unavailable("intent classifier", retry_after=_SOON, reason=reason, detail="it is being trained")
        return self._model.read(text)

    async def prepare(self) -> None:
        """Loads or trains the model, then waits for ever (a background task must not end)."""
        while not self._ready.is_set():
            try:
                self._model = await self._load_or_train()
                self._ready.set()
            except (OSError, ValueError, KeyError, RuntimeError, TimeoutError):
                log.exception("the intent classifier could not be trained; it is tried again in %.0f s", _RETRY_S)
                await asyncio.sleep(_RETRY_S)
        await asyncio.Event().wait()

    def _pairs(self) -> list[tuple[str, str]]:
        known = [(text, entry.name) for entry in self.intents.values() for text in entry.texts]
        return known + [(text, intent.OUT_OF_SCOPE) for text in self._settings.examples.out_of_scope]

    def _model_file(self) -> Path:
        """Named after what the model depends on: other examples, another model."""
        content = json.dumps([intent.FEATURES_VERSION, self._pairs()]).encode()
        return self._settings.model_folder / f"intents-{hashlib.sha256(content).hexdigest()[:16]}.json"

    async def _load_or_train(self) -> intent.Model:
        file = self._model_file()
        if file.exists():
            with suppress(ValueError, KeyError):
                return intent.load(await asyncio.to_thread(file.read_text))
        await self._train(file)
        return intent.load(await asyncio.to_thread(file.read_text))

    async def _train(self, file: Path) -> None:
        """Trains in a child process: scikit-learn's memory goes with it."""
        file.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_CHECKOUT), *sys.path])}
        module = "services.orchestration.workers.training"
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, str(file)),
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(self._settings.training_timeout.total_seconds()):
                _, problem = await child.communicate(json.dumps(self._pairs()).encode())
        finally:
            if child.returncode is None:
                with suppress(ProcessLookupError):
                    child.kill()
                await child.wait()
        if child.returncode:
            raise RuntimeError(f"training ended with {child.returncode}: {problem.decode(errors='replace')[-2000:]}")
