"""The bus as a server: `python -m tooloo_bus`, set up by TOOLOO_DATA_FOLDER, TOOLOO_BUS_PORT and what else docs/settings.md has."""

from tooloo_bus.bus.__main__ import build
from tooloo_bus.mesh import boot

if __name__ == "__main__":
    boot.run("bus", build, alone=True)
