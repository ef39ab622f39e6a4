"""Embeddings of prompts: half of MiniLM in int8 on ONNX Runtime in a thread, loaded when first needed; without it a hashed one."""

import asyncio
import hashlib
import importlib.util
import logging
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from services.provider import features
from services.provider.features import Vector

log = logging.getLogger(__name__)
MINILM, HASHED = "minilm-l6-v2-int8-3-layers", "hashed-words-256"
# as services.provider.workers.export_minilm names it
MODEL = "minilm-l3.onnx"
_NEEDED = ("onnxruntime", "tokenizers")


class _MiniLm:
    """The model: about 100 MB of memory, a millisecond or two a text."""

    def __init__(self, folder: Path, tokens: int) -> None:
        # here and not above: an installation without them must start, and one that never learns must not pay for them
        import onnxruntime  # noqa: PLC0415
        from tokenizers import Tokenizer  # noqa: PLC0415

        options = onnxruntime.SessionOptions()
        # one thread: more make one text hardly faster and take the processors from everybody else
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # an addition and a normalisation take 17 us apart and 43 us fused, twelve times a text
        slower = ["SkipLayerNormFusion"]
        self._session: Any = onnxruntime.InferenceSession(str(folder / MODEL), options, disabled_optimizers=slower)
        self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(tokens)
        self._tokenizer.no_padding()

    def embed(self, text: str) -> Vector:
        """A unit vector."""
        ids = np.array([self._tokenizer.encode(text).ids], np.int64)
        (vectors,) = self._session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        return np.asarray(vectors[0], np.float32)


class Embedder:
    """Embeds prompts, remembers the last ones by their hash."""

    def __init__(self, folder: Path, tokens: int, remembered: int) -> None:
        self._folder, self._tokens, self._remembered = folder, tokens, remembered
        # products of this size gain nothing from more threads, and on a busy machine waiting for them takes ten times as long
        threadpool_limits(1)
        self._model: _MiniLm | None = None
        self._cache: OrderedDict[bytes, Vector] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embedding")
        missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
        self.available = (folder / MODEL).is_file() and not missing
        self.why_not = "" if self.available else "run `make models` once to build and install the embedding model"

    @property
    def name(self) -> str:
        """Which embedding it is; vectors of different ones cannot be compared."""
        return MINILM if self.available else HASHED

    async def embed(self, text: str) -> Vector:
        """The prompt's embedding; only its beginning is read."""
        text = text[: self._tokens * 8]
        key = hashlib.blake2b(text.encode(errors="replace"), digest_size=16).digest()
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        vector = await asyncio.get_running_loop().run_in_executor(self._thread, self.embed_now, text)
        self._cache[key] = vector
        while len(self._cache) > self._remembered:
            self._cache.popitem(last=False)
        return vector

    def embed_now(self, text: str) -> Vector:
        """The same in the caller's thread, without remembering."""
        if self.available:
            try:
                self._model = self._model or _MiniLm(self._folder, self._tokens)
                return self._model.embed(text)
            except Exception:
                # a broken file or library must not cost anybody a selection
                self.available, self.why_not = False, "the embedding model cannot be loaded; see the log, run `make models`"
                log.exception("the embedding model cannot be used; the hashed embedding stands in")
        return features.hashed_embedding(text)

    async def close(self) -> None:
        """Ends the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)
