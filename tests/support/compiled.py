"""Contracts compiled as their authors do: by protoc, to a descriptor set and stubs."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.mesh import ROOT

EVENT = """syntax = "proto3";
package {package};
import "google/protobuf/wrappers.proto";
import "tooloo/event/v1/options.proto";
// {name} happened.
message {name} {{
  option (tooloo.event.v1.event) = {{type: "{type}" owner: "{owner}"}};
  string order_id = 1;
  google.protobuf.Int32Value rating = 2;
}}
"""


def event(name: str, type_: str, *, owner: str = "shop", package: str = "shop.v1") -> str:
    """The text of a contract with one event."""
    return EVENT.format(name=name, type=type_, owner=owner, package=package)


def compile_set(
    folder: Path,
    text: str,
    *,
    options: Sequence[str] = ("--include_imports", "--include_source_info"),
    file: str = "shop/v1/shop_events.proto",
) -> Path:
    """Writes the contract and compiles it; gives the path of the descriptor set."""
    source, target = folder / file, folder / "set.binpb"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(text)
    include = [f"-I{path}" for path in (folder, ROOT / "proto", ROOT / "proto" / "third_party")]
    command = [sys.executable, "-m", "grpc_tools.protoc", *include, *options, f"--descriptor_set_out={target}", file]
    subprocess.run(command, cwd=folder, check=True, timeout=60)
    return target
