"""Descriptor sets of other people: what is added is known everywhere, and what cannot be is refused with what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mesh import contracts, extra_contracts
from mesh.settings import SettingError
from tests.support.compiled import compile_set, event
from tests.support.mesh import ROOT

PLACED = event("OrderPlaced", "order.placed")


def run_python(program: str, folder: Path, *arguments: str) -> str:
    """Runs a program in a process of its own, for what is added to the contracts stays; gives what it prints."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "build" / "api", folder)))}
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert not done.returncode, done.stderr
    return done.stdout


def refusal(path: Path) -> str:
    """Why the set is refused."""
    with pytest.raises(SettingError) as caught:
        extra_contracts.load([str(path)])
    return str(caught.value)


def test_an_added_event_is_in_the_catalogue_with_its_comment(tmp_path: Path) -> None:
    """As one of ours is; its class decodes, its file goes to the door, and adding the same set again changes nothing."""
    path = compile_set(tmp_path, PLACED)
    program = """if True:
        import sys
        from mesh import contracts, extra_contracts
        before, own = len(contracts.catalogue()), list(contracts.our_files())
        extra_contracts.load(sys.argv[1:])
        extra_contracts.load(sys.argv[1:])
        assert len(contracts.catalogue()) == before + 1
        assert list(contracts.our_files()) == own
        names = [file.name for file in contracts.descriptor_set().file]
        assert len(names) == len(set(names))
        assert {"shop/v1/shop_events.proto", "google/protobuf/wrappers.proto"} <= set(names)
        message = contracts.message_class("shop.v1.OrderPlaced")(order_id="17")
        print(contracts.catalogue()["order.placed"], message)
    """
    printed = run_python(program, tmp_path, str(path))
    entry = "EventType(type='order.placed', message='shop.v1.OrderPlaced', owner='shop', description='OrderPlaced happened.')"
    assert printed == f'{entry} order_id: "17"\n\n'


@pytest.mark.parametrize("first", ["stubs", "set"])
def test_stubs_of_the_same_contract_may_be_imported_beside(tmp_path: Path, first: str) -> None:
    """In the same process, before and after: who runs the bus in process has both."""
    path = compile_set(tmp_path, PLACED, options=("--include_imports", f"--python_out={tmp_path}"))
    steps = ["from shop.v1.shop_events_pb2 import OrderPlaced", "extra_contracts.load(sys.argv[1:])"]
    lines = ["import sys", "from mesh import contracts, extra_contracts", *(steps if first == "stubs" else reversed(steps))]
    lines.append("assert contracts.message_class('shop.v1.OrderPlaced') is OrderPlaced")
    run_python("\n".join(lines), tmp_path, str(path))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """The message names the setting, the file and the command that makes one."""
    path = tmp_path / "nobody.binpb"
    how = f"make it with `protoc --include_imports --descriptor_set_out={path} ...`"
    assert refusal(path) == f"TOOLOO_EXTRA_CONTRACTS: {path} cannot be read (No such file or directory); {how}, or leave it out"


def test_a_file_that_is_no_descriptor_set_is_refused(tmp_path: Path) -> None:
    """The source instead of what is compiled from it is the likely mistake."""
    path = tmp_path / "shop.proto"
    path.write_text(PLACED)
    assert "is no descriptor set; make it with `protoc" in refusal(path)


def test_a_set_without_its_imports_is_refused(tmp_path: Path) -> None:
    """The pool says which file is missing, and the message which option was."""
    (tmp_path / "money.proto").write_text('syntax = "proto3"; package shop.v1; message Money {}')
    text = refusal(compile_set(tmp_path, f'{PLACED}\nimport "money.proto";', options=()))
    assert "cannot be linked" in text
    assert "--include_imports" in text
    assert "order.placed" not in contracts.catalogue()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('syntax = "proto3"; package shop.v1; message OrderPlaced {}', "holds no event"),
        (event("Placed", "order.placed", package="tooloo.shop.v1"), "declares the package tooloo.shop.v1"),
        (event("Placed", "order.placed", owner="learning"), "the owner learning, a service of the mesh"),
        (event("Placed", "order.placed", owner="system"), "the owner system, a service of the mesh"),
        (event("Placed", "order.placed", owner=""), "the owner ''; name who publishes it"),
        (event("Placed", "placed"), "names the event of shop.v1.Placed 'placed'; write a dotted name"),
        (event("Done", "training.completed"), "tooloo.learning.v1.TrainingCompleted has that name already"),
    ],
)
def test_an_event_that_could_not_be_told_apart_or_published_is_refused(tmp_path: Path, text: str, why: str) -> None:
    """Each with the message's name and what to write instead; nothing of the set is added."""
    before = dict(contracts.catalogue())
    assert why in refusal(compile_set(tmp_path, text))
    assert contracts.catalogue() == before


def test_two_events_of_one_name_are_refused(tmp_path: Path) -> None:
    """Within a set as between two."""
    second = event("Ordered", "order.placed").split('proto";')[-1]
    assert "shop.v1.OrderPlaced has that name already" in refusal(compile_set(tmp_path, PLACED + second))


def test_a_file_of_our_name_with_other_content_is_refused(tmp_path: Path) -> None:
    """It would take the place of ours; the same file, which every set brings, is fine."""
    text = event("Placed", "order.placed", package="tooloo.bus.v1")
    path = compile_set(tmp_path, text, file="tooloo/bus/v1/dead_letter.proto")
    assert "holds another tooloo/bus/v1/dead_letter.proto than the one that stands" in refusal(path)
