"""The steps of `junkie demo --live`: it reads from the real service, and changes nothing."""

from collections import Counter
from typing import Final

import aiohttp

from .. import JunkieClient, KeyStatus, OnProgress, RetryPolicy
from ._steps import Step

PAGES: Final = 5
"""Pages that are walked at most: with the rest, 12 requests where none has to be repeated."""
RETRY: Final = RetryPolicy(attempts=2, retry_after_cap=10.0)


class RequestMeter:
    """Counts the requests that leave a session, repeated ones too."""

    def __init__(self) -> None:
        self._calls: Counter[str] = Counter()

    def trace(self) -> aiohttp.TraceConfig:
        """Give what the session needs."""
        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(self._note)
        return trace

    def calls(self) -> Counter[str]:
        """Count the requests so far, by method."""
        return self._calls.copy()

    async def held(self) -> None:
        """Know nothing of what the service holds."""

    async def _note(self, _: object, __: object, request: aiohttp.TraceRequestStartParams) -> None:
        self._calls[request.method] += 1


class Live:
    """The steps, which make a bounded number of reads.

    Args:
        junkie: A client of the real service.

    Attributes:
        example: How a key shows itself in a log; empty when there is none.
        statuses: How many keys have each status.
    """

    def __init__(self, junkie: JunkieClient) -> None:
        self._keys = junkie.keys
        self._first: int | None = None
        self.example = ""
        self.statuses: dict[KeyStatus, int] = {}

    def steps(self) -> list[Step]:
        """Give the steps. Others may change keys meanwhile, so nothing is expected of them."""
        return [
            Step(name="count", run=self._count, rated=False),
            Step(name=f"list, {PAGES} pages", run=self._walk),
            Step(name="get", run=self._get),
            Step(name="count, by status", run=self._count_by_status, rated=False),
            Step(name="folders", run=self._folders, rated=False),
        ]

    async def _count(self, _: OnProgress) -> int:
        return await self._keys.list().count()

    async def _walk(self, progress: OnProgress) -> int:
        walked = 0
        pager = self._keys.list(prefetch=1)  # one ahead would be one too many
        pages = pager.pages()
        try:
            for _ in range(PAGES):
                page = await anext(pages, None)
                if page is None:
                    break
                if self._first is None and page.keys:
                    self._first = page.keys[0].id
                walked += len(page.keys)
                progress(walked, page.pagination.total)
        finally:
            await pages.aclose()
        return walked

    async def _get(self, _: OnProgress) -> int:
        if self._first is None:
            return 0
        self.example = repr(await self._keys.get(self._first))
        return 1

    async def _count_by_status(self, progress: OnProgress) -> int:
        for done, status in enumerate(KeyStatus, 1):
            self.statuses[status] = await self._keys.list(status=status).count()
            progress(done, len(KeyStatus))
        return sum(self.statuses.values())

    async def _folders(self, _: OnProgress) -> int:
        return len(await self._keys.folders())
