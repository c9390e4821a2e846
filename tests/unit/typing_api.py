"""Typed uses of the whole public API, for the type checker alone: nothing here is run.

`assert_type` pins what callers get. Each ``type: ignore`` pins a misuse that must stay an error:
mypy's ``warn_unused_ignores`` reports those that no longer are.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, assert_type

import aiohttp

from junkie_async import (
    HWID,
    UNSET,
    ActionResult,
    APIError,
    BatchError,
    BatchFields,
    BulkDeleteResult,
    CreateFields,
    CreateJob,
    CreateReport,
    DeleteJob,
    DeleteReport,
    DiscordRedemption,
    Filters,
    InvalidRequestError,
    InvalidResponseError,
    JunkieClient,
    JunkieError,
    Key,
    KeyBatch,
    KeyDetailed,
    KeyFolder,
    KeyOutcome,
    KeyPage,
    KeyPager,
    KeyRef,
    Keys,
    KeyStatus,
    OnProgress,
    Outcome,
    Pagination,
    RateLimit,
    RateLimitError,
    ResetHWIDJob,
    RetryPolicy,
    Unset,
    UpdateFields,
    UpdateJob,
    UpdateReport,
    UpdateResult,
    Verdict,
    mask_key_value,
)
from junkie_async.export import COLUMNS, Format, export_keys, unmark


async def client(session: aiohttp.ClientSession) -> None:
    """A client, bare and fully configured."""
    async with JunkieClient() as junkie:
        assert_type(junkie, JunkieClient)
        assert_type(junkie.keys, Keys)
        assert_type(junkie.closed, bool)
    other = JunkieClient(
        "key",
        base_url="http://127.0.0.1:8080",
        timeout=5,
        retry=RetryPolicy(attempts=3, wait_initial=0.1, deadline=60),
        max_in_flight=4,
        rate_limit=RateLimit(10, per=1),
        session=session,
    )
    await other.close()
    JunkieClient(proxy="http://proxy.example:3128", ssl=Path("ca.pem"), trust_env=True)
    JunkieClient(ssl=ssl.create_default_context())
    JunkieClient(ssl=False)  # type: ignore[arg-type]
    JunkieClient("key", "http://127.0.0.1")  # type: ignore[call-arg]
    JunkieClient(api_key=5)  # type: ignore[arg-type]
    JunkieClient(retries=5)  # type: ignore[call-arg]
    RetryPolicy(3)  # type: ignore[call-arg]
    RetryPolicy(attempts="3")  # type: ignore[arg-type]
    RateLimit()  # type: ignore[call-arg]


async def lists(keys: Keys, at: datetime, folder: int | Unset) -> None:
    """A list, read in each of its ways."""
    pager = keys.list(
        page=2,
        limit=50,
        prefetch=8,
        discord_id=1,
        key="JNK",
        hwid="PC",
        service_id=1,
        provider_id=2,
        folder_id=folder,
        status=KeyStatus.ACTIVE,
        expires_before=at,
        expires_after=UNSET,
    )
    assert_type(pager, KeyPager)
    async for key in pager:
        assert_type(key, Key)
    async for page in pager.pages():
        assert_type(page, KeyPage)
    assert_type(await pager, KeyPage)
    assert_type(await pager.first(), Key | None)
    assert_type(await pager.count(), int)
    assert_type(await pager.collect(), list[Key])
    assert_type(await pager.collect(limit=5), list[Key])
    keys.list(status="used")
    keys.list(status="activ")  # type: ignore[arg-type]
    keys.list(2)  # type: ignore[call-arg]
    keys.list(is_premium=True)  # type: ignore[call-arg]
    keys.list(status=1)  # type: ignore[arg-type]
    keys.list(expires_before="2024-01-01")  # type: ignore[arg-type]
    for _ in keys.list():  # type: ignore[attr-defined]
        pass
    async for _ in await keys.list():  # type: ignore[attr-defined]
        pass


async def tasks(keys: Keys, loop: asyncio.AbstractEventLoop) -> None:
    """Jobs and lists are coroutines, so that whatever takes a coroutine takes them."""
    assert_type(asyncio.create_task(keys.create_many(5, provider_id=1)), asyncio.Task[CreateReport])
    assert_type(asyncio.create_task(keys.list()), asyncio.Task[KeyPage])
    async with asyncio.TaskGroup() as group:
        assert_type(group.create_task(keys.delete_many([1])), asyncio.Task[DeleteReport])
    waiting = asyncio.run_coroutine_threadsafe(keys.list(), loop)
    assert_type(waiting.result(), KeyPage)


async def single(keys: Keys, ref: KeyRef, at: datetime) -> None:
    """One key: found, made, changed and deleted."""
    assert_type(await keys.get(5), KeyDetailed)
    assert_type(await keys.get("JNK"), KeyDetailed)
    assert_type(await keys.get(ref), KeyDetailed)
    found = await keys.find("JNK")
    assert_type(found, Key | None)
    verdict = await keys.verify("JNK", hwid="PC", max_age=30, stale_if_error=3600.0)
    assert_type(verdict, Verdict)
    assert_type(verdict.stale, bool)
    assert_type(verdict.age, float)
    assert_type(await asyncio.create_task(keys.verify("JNK")), Verdict)
    keys.verify(5)  # type: ignore[arg-type]
    if keys.verify("JNK"):  # nobody gets in without an `await`
        print("valid")  # type: ignore[unreachable]
    found.id  # type: ignore[union-attr]  # noqa: B018
    made = await keys.create(
        provider_id=1,
        service_id=None,
        folder_id=2,
        key_name="n",
        validity_minutes=timedelta(hours=1),
        hwid="PC",
        hwids=("PC", "Mac"),
        discord_id=1,
        is_premium=True,
        one_time_use=False,
        expiry_on_first_use=UNSET,
        no_hwid=False,
        hwid_limit=3,
    )
    assert_type(made, Key)
    updated = await keys.update(
        made, folder_id=None, hwids=[], expires_at=at, is_invalidated=True, validity_minutes=60
    )
    assert_type(updated, UpdateResult)
    assert_type(await keys.invalidate(made), UpdateResult)
    assert_type(await keys.revalidate(made.id), UpdateResult)
    assert_type(await keys.reset_hwid(made.key_value), ActionResult)
    assert_type(await keys.folders(), list[KeyFolder])
    await keys.delete(made)
    await keys.get(1.5)  # type: ignore[arg-type]
    await keys.get(None)  # type: ignore[arg-type]
    await keys.find(5)  # type: ignore[arg-type]
    await keys.create()  # type: ignore[call-arg]
    await keys.create(1)  # type: ignore[call-arg]
    await keys.create(provider_id=None)  # type: ignore[arg-type]
    await keys.create(provider_id=1, premium=True)  # type: ignore[call-arg]
    await keys.create(provider_id=1, is_premium=None)  # type: ignore[arg-type]
    await keys.update(1, provider_id=2)  # type: ignore[call-arg]
    await keys.update(1, folder_id="2")  # type: ignore[arg-type]
    await keys.delete([1, 2])  # type: ignore[arg-type]


async def many(keys: Keys, refs: list[KeyRef], stream: AsyncIterator[int]) -> None:
    """Many keys: in one call, and as jobs."""
    batch = await keys.create_batch(provider_id=1, amount=5, discord_id="1")
    assert_type(batch, KeyBatch)
    assert_type(batch.keys, tuple[str, ...])
    assert_type(batch.config, dict[str, Any])
    job = keys.create_many(1000, provider_id=1, concurrency=2, on_progress=print, is_premium=True)
    assert_type(job, CreateJob)
    assert_type(await job, CreateReport)
    assert_type(job.report, CreateReport)
    async for created in job:
        assert_type(created, KeyBatch)
    delete = keys.delete_many(refs, concurrency=2, on_progress=lambda done, total: None)
    assert_type(delete, DeleteJob)
    assert_type(await delete, DeleteReport)
    async for deleted in delete:
        assert_type(deleted, BulkDeleteResult)
    await keys.delete_many(stream)
    await keys.delete_many(key async for key in keys.list())
    await keys.delete_many({1, 2})
    await keys.delete_many(range(5))
    update = keys.update_many(refs, concurrency=2, on_progress=print, is_premium=True)
    assert_type(update, UpdateJob)
    assert_type(await update, UpdateReport)
    reset = keys.reset_hwid_many(stream)
    assert_type(reset, ResetHWIDJob)
    async for outcome in reset:
        assert_type(outcome, KeyOutcome)
    await keys.update_many([(5, {"key_name": "a"}), ("JNK", {"folder_id": None})])
    await keys.update_many(keys.list(), folder_id=None)
    assert_type(await keys.bulk_delete(["JNK", 5]), BulkDeleteResult)
    assert_type(await keys.bulk_delete((await keys.list()).keys), BulkDeleteResult)
    assert_type(await keys.purge(status=KeyStatus.EXPIRED, service_id=1), DeleteReport)
    assert_type(await keys.purge(everything=True, on_progress=print), DeleteReport)
    await keys.create_batch(provider_id=1)  # type: ignore[call-arg]
    await keys.create_batch(provider_id=1, amount=1, hwids=[])  # type: ignore[call-arg]
    keys.create_many(provider_id=1)  # type: ignore[call-arg]
    keys.create_many(5, provider_id=1, on_progress=lambda done: None)  # type: ignore[arg-type, misc]
    await keys.bulk_delete({1, 2})  # type: ignore[arg-type]
    await keys.bulk_delete([1.5])  # type: ignore[list-item]
    keys.delete_many(5)  # type: ignore[arg-type]
    keys.update_many([5], validity="1h")  # type: ignore[call-arg]
    keys.update_many([(5, {"label": "a"})])  # type: ignore[typeddict-unknown-key]
    await keys.purge(expired=True)  # type: ignore[call-arg]


def models(key: Key, detailed: KeyDetailed, page: KeyPage, folder: KeyFolder) -> None:
    """Values, and what can be read of them."""
    assert_type(key.id, int)
    assert_type(key.key_value, str)
    assert_type(key.expires_at, datetime | None)
    assert_type(key.is_premium, bool)
    assert_type(key.hwids, tuple[HWID, ...])
    assert_type(key.keys_hwid, tuple[str, ...])
    assert_type(key.discord_id, str | None)
    assert_type(key.status, KeyStatus)
    assert_type(key.status_at(datetime.now(UTC)), KeyStatus)
    assert_type(key.is_expired, bool)
    assert_type(key.expires_in, timedelta | None)
    assert_type(detailed.discord_redemption, DiscordRedemption | None)
    assert_type(page.keys, tuple[Key, ...])
    assert_type(page[0], Key)
    assert_type(page[:5], tuple[Key, ...])
    assert_type(list(page), list[Key])
    as_sequence: Sequence[Key] = page
    print(as_sequence)
    assert_type(key.to_dict(), dict[str, Any])
    assert_type(page.pagination, Pagination)
    assert_type(page.pagination.total_pages, int | None)
    assert_type(folder.name, str)
    assert_type(UpdateResult().keys_hwid, tuple[str, ...])
    assert_type(ActionResult().success, bool)
    assert_type(CreateReport(requested=1, keys=()).created, int)
    assert_type(DeleteReport(requested=1).missing, int)
    assert_type(BulkDeleteResult(deleted=1, requested=1).deleted, int)
    assert_type(bool(UNSET), bool)
    unset: Literal[Unset.UNSET] = UNSET
    print(unset)
    assert_type(mask_key_value(key.key_value), str)
    key.id = 5  # type: ignore[misc]
    key.value  # type: ignore[attr-defined]  # noqa: B018
    Key(5, "JNK")  # type: ignore[call-arg]
    Key(id=5)  # type: ignore[call-arg]
    Key(id="5", key_value="JNK")  # type: ignore[arg-type]


def arguments() -> None:
    """The arguments of a call, collected beforehand."""
    batch: BatchFields = {"is_premium": True, "discord_id": 1, "folder_id": None}
    create: CreateFields = {**batch, "hwids": ["PC"]}
    update: UpdateFields = {"folder_id": None, "expires_at": UNSET}
    filters: Filters = {"status": "used", "discord_id": 1}
    print(create, update, filters)
    BatchFields(hwids=["PC"])  # type: ignore[typeddict-unknown-key]
    Filters(folder_id="5")  # type: ignore[typeddict-item]
    Filters(status="activ")  # type: ignore[typeddict-item]
    UpdateFields(is_premium=None)  # type: ignore[typeddict-item]


async def unpacked(keys: Keys, create: CreateFields, batch: BatchFields, filters: Filters) -> None:
    """Collected arguments are passed to the calls."""
    assert_type(await keys.create(provider_id=1, **create), Key)
    assert_type(await keys.create_many(5, provider_id=1, **batch), CreateReport)
    assert_type(keys.list(**filters), KeyPager)
    await keys.create_batch(provider_id=1, amount=1, **create)  # type: ignore[misc]


async def errors(keys: Keys) -> None:
    """Errors and their attributes."""
    try:
        await keys.get(5)
    except RateLimitError as limited:
        assert_type(limited.retry_after, float | None)
        assert_type(limited.challenge, bool)
    except APIError as refused:
        assert_type(refused.status, int)
        assert_type(refused.message, str)
        assert_type(refused.body, str)
        assert_type(refused.headers, dict[str, str])
    except InvalidResponseError as unusable:
        assert_type(unusable.row, int | None)
        assert_type(unusable.field, str | None)
        assert_type(unusable.status, int | None)
        assert_type(unusable.rows, tuple[Any, ...])
    except BatchError as ended:
        assert_type(ended.report, Any)
    except InvalidRequestError as invalid:
        as_builtin: ValueError = invalid
        print(as_builtin)
        assert_type(invalid.field, str)
        assert_type(invalid.limit, str)
    except JunkieError as error:
        assert_type(error.outcome, Outcome)
        assert_type(error.transient, bool)
        assert_type(error.method, str | None)
        assert_type(error.path, str | None)
        assert_type(error.attempts, int)
        assert_type(error.page, int | None)


async def exports(junkie: JunkieClient, keys: AsyncIterator[Key], progress: OnProgress) -> None:
    """Keys to a file: a path or an open text file, the format by name or by suffix."""
    assert_type(await export_keys(junkie.keys.list(), "keys.csv"), int)
    await export_keys(keys, Path("keys"), format="jsonl", on_progress=progress)
    await export_keys(keys, sys.stdout, format=Format.CSV, bom=True)
    await export_keys(keys, "keys", format="xml")  # type: ignore[arg-type]
    await export_keys([], "keys.csv")  # type: ignore[arg-type]
    assert_type(unmark("'=1"), str)
    assert_type(COLUMNS, tuple[str, ...])
