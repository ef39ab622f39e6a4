"""Builds the Python stubs and the descriptor set of the contracts into one folder.

Used by `make build` (for the checkout) and by setup.py (for the `tooloo-api` wheel), so that both hold the same bytes.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
DESCRIPTOR_SET = Path("tooloo") / "descriptors.binpb"
# which gRPC services each package declares: read by every process at its start, so it is not the whole descriptor set
SERVICE_NAMES = Path("tooloo") / "services.json"
# Their Python modules come with googleapis-common-protos; the descriptor set needs them by name, or error bodies come back empty.
FOREIGN = ("google/rpc/status.proto", "google/rpc/error_details.proto", "google/rpc/code.proto", "google/api/httpbody.proto")


def sources(root: Path) -> list[str]:
    """Paths of our own contract files, relative to the proto folder, in a fixed order."""
    return sorted(path.relative_to(root).as_posix() for path in (root / "tooloo").rglob("*.proto"))


def services_in(root: Path, names: list[str]) -> list[str]:
    """Those of the files that declare a service: only they get a _pb2_grpc module."""
    return [name for name in names if any(line.startswith("service ") for line in (root / name).read_text().splitlines())]


def protoc(*arguments: str) -> None:
    """Runs the protoc of grpcio-tools; SystemExit with its code when it fails (it has said why)."""
    import grpc_tools
    from grpc_tools import protoc as compiler

    include = Path(grpc_tools.__file__).parent / "_proto"
    plugins = [f"--plugin={name}={path}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc") if (path := plugin(name))]
    code = compiler.main(["protoc", f"-I{HERE}", f"-I{HERE / 'third_party'}", f"-I{include}", *plugins, *arguments])
    if code:
        raise SystemExit(code)


def plugin(name: str) -> str | None:
    """Path of a protoc plugin: beside this Python first, so that an inactive virtual environment works too."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name)


def add_health(path: Path) -> None:
    """Adds grpc.health.v1 with an HTTP rule to the descriptor set, so that the door answers GET /health for each service."""
    from google.api import annotations_pb2
    from google.protobuf import descriptor_pb2
    from grpc_health.v1 import health_pb2

    files = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())
    health = files.file.add()
    health.ParseFromString(health_pb2.DESCRIPTOR.serialized_pb)
    check = next(method for method in health.service[0].method if method.name == "Check")
    check.options.Extensions[annotations_pb2.http].get = "/health"
    health.dependency.append("google/api/annotations.proto")
    path.write_bytes(files.SerializeToString(deterministic=True))


def write_service_names(descriptors: Path, target: Path) -> None:
    """Writes the full names of our gRPC services by package, in the order of the files."""
    from google.protobuf import descriptor_pb2

    found: dict[str, list[str]] = {}
    for file in descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes()).file:
        if file.package.startswith("tooloo."):
            found.setdefault(file.package, []).extend(f"{file.package}.{service.name}" for service in file.service)
    target.write_text(json.dumps({package: names for package, names in sorted(found.items()) if names}, indent=1) + "\n")


def build(target: Path) -> None:
    """Writes stubs, typed stubs and the descriptor set under `target` (e.g. target/tooloo/bus/v1/bus_service_pb2.py).

    Made beside the target and then moved over it file by file: contracts that do not compile leave the old stubs as they were.
    """
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as fresh:
        generate(Path(fresh))
        made = {path.relative_to(fresh) for path in Path(fresh).rglob("*") if path.is_file()}
        for path in made:
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(fresh) / path).replace(target / path)
    for stale in [path for package in ("tooloo", "buf") for path in (target / package).rglob("*_pb2*.py*")]:
        if stale.relative_to(target) not in made and "__pycache__" not in stale.parts:
            stale.unlink()


def generate(target: Path) -> None:
    """Runs protoc for everything into an empty folder."""
    names = sources(HERE)
    protoc(f"--python_out={target}", f"--mypy_out=quiet:{target}", *names, "buf/validate/validate.proto")
    with_services = services_in(HERE, names)
    protoc(f"--grpc_python_out={target}", f"--mypy_grpc_out=quiet:{target}", *with_services)
    descriptors = target / DESCRIPTOR_SET
    protoc("--include_imports", "--include_source_info", f"--descriptor_set_out={descriptors}", *names, *FOREIGN)
    add_health(descriptors)
    write_service_names(descriptors, target / SERVICE_NAMES)
    for package in {(target / name).parent for name in names}:
        (package / "__init__.py").touch()
    for package in ("tooloo", "buf", "buf/validate"):
        (target / package / "__init__.py").touch()
    for area in (target / "tooloo").iterdir():
        if area.is_dir():
            (area / "__init__.py").touch()
    (target / "tooloo" / "py.typed").touch()


if __name__ == "__main__":
    build(Path(sys.argv[1]))
