"""What does a sentence want? `python -m examples.assistant.understand USER SENTENCE`."""

import json
import sys

import grpc
from google.protobuf.json_format import MessageToDict
from tooloo.orchestration.v1.orchestration_service_pb2 import AnalyzeIntentRequest, AnalyzeIntentResponse
from tooloo.orchestration.v1.orchestration_service_pb2_grpc import OrchestrationServiceStub

from examples.assistant.door import open_door


def understand(door: grpc.Channel, user: str, sentence: str) -> AnalyzeIntentResponse:
    """The intent, how sure it is, and the values that the sentence names."""
    return OrchestrationServiceStub(door).AnalyzeIntent(AnalyzeIntentRequest(user_id=user, text=sentence))


if __name__ == "__main__":
    with open_door() as channel:
        read = understand(channel, sys.argv[1], sys.argv[2])
    print(read.name or "out of scope", f"{read.confidence:.2f}", json.dumps(MessageToDict(read.slots), sort_keys=True))
