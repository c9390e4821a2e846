"""The package's version, told to the service in the ``User-Agent``."""

__version__ = "0.1.0"
