"""What the service answers to a request that the package does not model."""

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
from multidict import CIMultiDict, CIMultiDictProxy


def _freeze_headers(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> Mapping[str, str]:
    return CIMultiDictProxy(CIMultiDict(headers))


@attrs.frozen(kw_only=True)
class APIResponse:
    """What the service answers to `JunkieClient.request`.

    ``repr`` shows the status alone: headers and data may contain key values.
    """

    status: int
    """The HTTP status: 2xx. 404 for a DELETE that an earlier attempt had carried out."""

    headers: Mapping[str, str] = attrs.field(
        factory=dict[str, str], repr=False, converter=_freeze_headers
    )
    """The response's headers, read-only, in any case: ``headers["etag"]``."""

    data: Any = attrs.field(default=None, repr=False)
    """The body's JSON as dicts, lists, strings and so on. None for an empty body."""

    def __reduce__(self) -> tuple[Any, ...]:
        # multidict's read-only mappings can't be pickled.
        return _restore, (self.status, [*self.headers.items()], self.data)


def _restore(status: int, headers: Iterable[tuple[str, str]], data: Any) -> APIResponse:
    return APIResponse(status=status, headers=headers, data=data)
