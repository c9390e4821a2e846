"""A local Junkie key service that obeys the published contract; see `Emulator`.

It needs the extra: ``pip install "junkie_async[emulator]"``.
"""

from .faults import Faults
from .server import Emulator

__all__ = ["Emulator", "Faults"]
