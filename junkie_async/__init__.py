"""Async SDK for the Junkie key system: create, list, change and delete licence keys.

async with JunkieClient() as junkie:
    key = await junkie.keys.create(provider_id=42, validity_minutes=60)
"""

from typing import TYPE_CHECKING

from ._version import __version__

__all__ = [
    "HWID",
    "UNSET",
    "APIError",
    "APIResponse",
    "ActionResult",
    "AttemptEvent",
    "AuthenticationError",
    "BadRequestError",
    "BatchError",
    "BatchFields",
    "BulkDeleteResult",
    "ClientClosedError",
    "ConfigurationError",
    "ConflictError",
    "ConnectError",
    "CreateFields",
    "CreateJob",
    "CreateReport",
    "DeleteJob",
    "DeleteReport",
    "DiscordRedemption",
    "Drift",
    "DriftError",
    "Filters",
    "Hooks",
    "InvalidRequestError",
    "InvalidResponseError",
    "JobEvent",
    "JunkieClient",
    "JunkieError",
    "Key",
    "KeyBatch",
    "KeyDetailed",
    "KeyFolder",
    "KeyGroup",
    "KeyOutcome",
    "KeyPage",
    "KeyPager",
    "KeyRef",
    "KeyStats",
    "KeyStatus",
    "Keys",
    "NotFoundError",
    "OnProgress",
    "OutageEvent",
    "Outcome",
    "OutcomeStatus",
    "OutcomeUnknownError",
    "Pagination",
    "PauseEvent",
    "PermissionDeniedError",
    "RateLimit",
    "RateLimitError",
    "RequestTimeoutError",
    "ResetHWIDJob",
    "RetryEvent",
    "RetryPolicy",
    "ServerError",
    "SharedThrottleEvent",
    "TooManyMatchesError",
    "TransportError",
    "Unset",
    "UpdateFields",
    "UpdateJob",
    "UpdateReport",
    "UpdateResult",
    "Verdict",
    "VerdictReason",
    "__version__",
    "mask_key_value",
]

if TYPE_CHECKING:
    from ._names import *
else:
    # All names at once, when the first one is used. The command line's help and completion use
    # none: they would take four times as long.
    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from . import _names

        globals().update({each: getattr(_names, each) for each in __all__})
        return globals()[name]

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
