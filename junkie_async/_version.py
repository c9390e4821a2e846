"""The package's version, told to the service in the ``User-Agent``."""

__version__ = "0.2.0"
"""The version of this package."""
