"""What `junkie_async` exports: loaded when the first of its names is used."""

from ._client import JunkieClient
from ._errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    BatchError,
    ClientClosedError,
    ConfigurationError,
    ConflictError,
    ConnectError,
    DriftError,
    InvalidRequestError,
    InvalidResponseError,
    JunkieError,
    NotFoundError,
    Outcome,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    TooManyMatchesError,
    TransportError,
)
from ._hooks import (
    AttemptEvent,
    Hooks,
    JobEvent,
    OutageEvent,
    PauseEvent,
    RetryEvent,
    SharedThrottleEvent,
)
from ._http.local_rate import RateLimit
from ._http.retry import RetryPolicy
from ._jobs.create import CreateJob
from ._jobs.delete import DeleteJob
from ._jobs.job import OnProgress
from ._jobs.outcomes import KeyOutcome, OutcomeStatus, UpdateReport
from ._jobs.update import ResetHWIDJob, UpdateJob
from ._keys.keys import Keys
from ._masking import mask_key_value
from ._models import (
    HWID,
    UNSET,
    ActionResult,
    APIResponse,
    BulkDeleteResult,
    CreateReport,
    DeleteReport,
    DiscordRedemption,
    Key,
    KeyBatch,
    KeyDetailed,
    KeyFolder,
    KeyPage,
    KeyRef,
    KeyStatus,
    Pagination,
    Unset,
    UpdateResult,
)
from ._pagination.pager import Drift, KeyPager
from ._pagination.stats import KeyGroup, KeyStats
from ._protocol.fields import BatchFields, CreateFields, Filters, UpdateFields
from ._verification.verdict import Verdict, VerdictReason
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

# Tracebacks, help() and pickles show the names that users import, as in `junkie_async.Key`. msgspec
# and cattrs resolve string annotations where a class says it is defined, so the models have none.
_PACKAGE = __name__.rpartition(".")[0]
for _value in map(globals().__getitem__, __all__):
    if callable(_value) and _value.__module__.startswith(f"{_PACKAGE}._"):
        _value.__module__ = _PACKAGE
