"""The bus's C library under sanitizers: whatever bytes come, it reads and writes nothing beyond them.

Atheris measures what Python runs, not a library behind ctypes, so the same sources are built into a driver of their own.
"""

import os
import shutil
import subprocess
from pathlib import Path

from tooloo.bus.v1.bus_service_pb2 import PublishRequest, PublishStreamRequest
from tooloo.event.v1.event_pb2 import Event

from bus import shapes
from mesh import contracts
from tests.contracts.golden import bytes_file
from tests.support.events import sample, sized

FOLDER = Path(__file__).resolve().parent
NATIVE = FOLDER.parents[1] / "bus" / "native"
FLAGS = ("-std=gnu11", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
# cases that one case of the other fuzz tests is worth: these take microseconds
CASES_EACH = 300


def text(content: bytes) -> bytes:
    """Bytes behind their length."""
    return len(content).to_bytes(4, "little") + content


def tables() -> bytes:
    """The catalogue, the shapes and the requests that cases are made from, as the driver reads them."""
    numbers = [(number, entry.type, entry.owner) for number, entry in enumerate(contracts.catalogue().values(), 1)]
    types, shapes_ = shapes.known_types(numbers)
    out = [len(types).to_bytes(4, "little")]
    for known in types:
        out += [known.number.to_bytes(2, "little"), known.message.to_bytes(4, "little", signed=True)]
        out += [text(part.encode()) for part in (known.type, known.source, known.url)]
    out.append(len(shapes_).to_bytes(4, "little"))
    first = 0
    for shape in shapes_:
        out += [first.to_bytes(4, "little"), len(shape.fields).to_bytes(4, "little")]
        first += len(shape.fields)
    out.append(first.to_bytes(4, "little"))
    for number, kind, repeated, message in (row for shape in shapes_ for row in shape.fields):
        out += [number.to_bytes(4, "little"), bytes((kind, repeated)), message.to_bytes(2, "little")]
    seeds = requests()
    return b"".join([*out, len(seeds).to_bytes(4, "little"), *map(text, seeds)])


def requests() -> list[bytes]:
    """A request of each type, of many events, of one large one, and of a stream."""
    found = []
    for name in contracts.catalogue():
        event = Event.FromString(bytes_file(name).read_bytes())
        event.ClearField("position")
        found.append(PublishRequest(events=[event]).SerializeToString())
    found.append(PublishRequest(events=[sample(number) for number in range(20)]).SerializeToString())
    found.append(PublishRequest(events=[sized(1, 3000)]).SerializeToString())
    found.append(PublishStreamRequest(events=[sample(1), sample(2, "é")], sequence=300).SerializeToString())
    return found


def test_no_bytes_lead_the_library_astray(tmp_path: Path, cases: int, seed: int) -> None:
    """Mutated requests and records, and schemas of any kind, in buffers of their exact size: the sanitizers have nothing to say."""
    compiler = os.environ.get("CC") or shutil.which("cc")
    assert compiler, "a C compiler is needed, as for make build"
    driver, input_file = tmp_path / "bus_bytes", tmp_path / "tables"
    input_file.write_bytes(tables())
    build = [compiler, *FLAGS, f"-I{NATIVE}", "-o", str(driver), str(FOLDER / "bus_bytes.c")]
    subprocess.run(build, check=True, timeout=120)
    print(f"seed {seed}; again with TOOLOO_FUZZ_SEED={seed}")
    env = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0", "UBSAN_OPTIONS": "print_stacktrace=1"}
    command = [str(driver), str(input_file), str(seed), str(cases * CASES_EACH)]
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=1200, check=False)
    assert ended.returncode == 0, ended.stderr[-4000:]
    assert not ended.stderr, ended.stderr[-4000:]
    accepted, total = (int(word) for word in ended.stdout.split() if word.isdigit())
    # cases must reach what stands behind the first checks
    assert total / 20 < accepted < total
