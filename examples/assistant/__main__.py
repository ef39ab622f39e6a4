"""The assistant: `python -m examples.assistant USER`; it reads a sentence a line and does what each one wants."""

import sys

import grpc
from google.protobuf.json_format import MessageToDict
from tooloo.learning.v1.training_pb2 import Round

from examples.assistant.ask import HALF_A_DOLLAR, ask, keep_within
from examples.assistant.door import open_door
from examples.assistant.train import soon_again, train
from examples.assistant.understand import understand


def score(current: Round) -> float:
    """How well the learner did, as he says himself; the rubric says what a full answer holds."""
    print(f"  A full answer: {current.rubric}")
    return float(input("  How well did you do, 0 to 1? "))


def answer(door: grpc.Channel, user: str, sentence: str) -> None:
    """Does what a sentence wants."""
    read = understand(door, user, sentence)
    if read.name == "start_training":
        said = MessageToDict(read.slots)
        train(door, user, said.get("focusArea", "python"), int(said.get("count", 1)), score)
    elif read.name == "review_due_cards":
        print("\n".join(soon_again(door, user)) or "Nothing is due.")
    else:
        print(ask(door, user, sentence))


def main(user: str) -> None:
    """Reads until the end of the input."""
    with open_door() as door:
        keep_within(door, user, HALF_A_DOLLAR)
        for line in sys.stdin:
            if line.strip():
                answer(door, user, line.strip())


if __name__ == "__main__":
    main(sys.argv[1])
