"""The kit: what every service of the mesh stands on. It imports no service."""

import os
import sys

# gRPC reads this when it is loaded, so it stands before any module of ours that loads it. Its event engine hands each message
# from a thread of its own to the thread that grpc.aio polls in, and that to the loop; without it one of the two hand-overs is
# gone, which takes a third off a round trip (docs/decisions/0008-bus-fast-path.md). Whoever has set it keeps what was set.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")

# httpx imports its own command line whenever click and rich are there, and with it a highlighter of a hundred languages: a third of
# what gateway and integration import. None is how Python marks a module that must not be found, and httpx does without.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type] # typeshed knows only modules that are found
