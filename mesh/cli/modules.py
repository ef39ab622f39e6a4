"""How the command runs other parts of the mesh, which it must not import: as modules in processes of their own."""

import os

from mesh.settings import CHECKOUT


def module_environment() -> dict[str, str]:
    """What lets `python -m` find the mesh from any folder; relative paths of the settings stay as seen from here."""
    paths = [str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])]
    # nine processes start from the same modules: without bytecode on disk each of them compiles all of it again
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": os.pathsep.join(paths)}
