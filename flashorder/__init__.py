"""flashorder: a flash-sale order service. See ARCHITECTURE.md for the map of the rooms."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("flashorder")
except PackageNotFoundError:  # a bare checkout that was never installed
    __version__ = "0+checkout"
