"""`Reconciler` over a journal in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection

import pytest

from junkie_async import Key, KeyPage, OutcomeUnknownError
from junkie_async._jobs.journal import Intent, Journal
from junkie_async._jobs.reconcile import Reconciler


class _MarkedJournal(Journal):
    """Marks its intents, and knows which keys it has logged for all of them."""

    async def logged_keys(self, numbers: Collection[int]) -> set[str]:
        return set(self._keys)

    def _marker_of(self, number: int) -> str:
        return f"m{number}"


class _Service:
    """Lists and deletes keys, and records whether a deletion came before the logging."""

    def __init__(self, *names: str) -> None:
        self.journal = _MarkedJournal()
        self.keys = [
            Key(id=number, key_value=f"K{number}", key_name=name)
            for number, name in enumerate(names, 1)
        ]
        self.deleted: list[int | str] = []
        self.created_at_deletion = -1

    async def find(self) -> AsyncGenerator[KeyPage, None]:
        """Yield pages of one key."""
        for key in self.keys:
            yield KeyPage(keys=(key,))

    async def delete(self, ids: list[int | str]) -> None:
        """Record a deletion."""
        self.deleted += ids
        self.created_at_deletion = self.journal.created

    def reconciler(self) -> Reconciler:
        """Make a reconciler without a delay."""
        return Reconciler(self.journal, 0.0, find=self.find, delete=self.delete)

    async def lose(self, *amounts: int) -> list[Intent]:
        """Open intents whose calls have unknown outcomes."""
        intents = await self.journal.log_intents(amounts)
        for intent in intents:
            intent.in_doubt = True
            self.journal.log_result(intent, (), final=False)
        return intents


async def test_marked_keys_are_adopted() -> None:
    """Each open intent gets its keys and is closed; what it did not create is missing again."""
    service = _Service("launch m0", "m1", "launch", "m0", "m7", "m1 launch")
    await service.lose(2, 3)
    assert await service.reconciler().reconcile() == [["K1", "K4"], ["K2"]]
    assert service.journal.keys() == ("K1", "K4", "K2")
    assert not service.journal.open_intents
    assert not service.deleted


async def test_surplus_keys_are_deleted_before_anything_is_logged() -> None:
    """Surplus are keys above an intent's amount, and late ones of an intent that is closed."""
    service = _Service("m0", "m1", "m0", "m0")
    closed, _ = await service.lose(2, 1)
    service.journal.log_result(closed, ["K1"], final=True)
    assert await service.reconciler().reconcile() == [["K2"]]
    assert service.deleted == [3, 4]
    assert service.created_at_deletion == 1


async def test_logged_keys_are_neither_adopted_nor_deleted() -> None:
    """A response with some of its keys: only the others are adopted."""
    service = _Service("m0", "m0", "m0")
    (intent,) = await service.lose(3)
    service.journal.log_result(intent, ["K2"], final=False)
    assert await service.reconciler().reconcile() == [["K1", "K3"]]
    assert not service.deleted


async def test_five_rounds_without_a_key_end_the_job() -> None:
    """The error is the latest doubt; a key in between starts the count again."""
    service = _Service()
    reconciler, doubt = service.reconciler(), OutcomeUnknownError("lost")

    async def fail_round() -> list[list[str]]:
        await service.lose(100)
        reconciler.count_doubt(doubt)
        assert reconciler.doubts_in_a_row == 1
        return await reconciler.reconcile()

    for _ in range(4):
        assert await fail_round() == []
    reconciler.count_success()
    for _ in range(4):
        assert await fail_round() == []
        assert reconciler.doubts_in_a_row == 0
    with pytest.raises(OutcomeUnknownError) as caught:
        await fail_round()
    assert caught.value is doubt
    assert not service.journal.open_intents
