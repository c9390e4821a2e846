"""The plugin as users meet it: found by its entry point, in a pytest of its own."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import pytest

from .nested import run, write

FIXTURES = ("junkie_client", "junkie_emulator", "junkie_factory", "junkie_faults")

BOT = """
    from junkie_async import JunkieClient, JunkieError, RetryPolicy

    async def give_key(user):
        try:
            async with JunkieClient(retry=RetryPolicy(attempts=1)) as junkie:
                return (await junkie.keys.create(provider_id=8969, discord_id=user)).key_value
        except JunkieError:
            return "Please try again later."
"""

TESTS = """
    import subprocess, sys
    import bot
    import pytest
    from junkie_async import KeyStatus, NotFoundError, ServerError

    USER = 123456789012345678

    @pytest.mark.asyncio
    async def test_a_bot_with_a_client_of_its_own(junkie_client):
        value = await bot.give_key(USER)
        assert (await junkie_client.keys.find(value)).discord_id == str(USER)

    @pytest.mark.asyncio
    async def test_faults(junkie_client, junkie_faults, junkie_emulator):
        junkie_faults.on(error_rate=1.0)
        assert await bot.give_key(USER) == "Please try again later."
        with pytest.raises(ServerError):
            await junkie_client.keys.get(1)
        junkie_faults.off()
        with junkie_faults(drop_after_rate=1.0, operations="createKey"):
            assert await bot.give_key(USER) == "Please try again later."
        assert await junkie_client.keys.list().count() == 1
        assert junkie_emulator.faults_injected == {"error": 1 + 5, "drop_after": 1}

    @pytest.mark.asyncio
    async def test_factory(junkie_client, junkie_factory):
        key, used = await junkie_factory.store(
            junkie_factory.key(hwids=["A"]), junkie_factory.key(status=KeyStatus.USED)
        )
        assert await junkie_client.keys.list().collect() == [used, key]
        assert await junkie_client.keys.list(status="used").collect() == [used]

    @pytest.mark.asyncio
    async def test_each_test_has_an_emulator_of_its_own(junkie_client):
        with pytest.raises(NotFoundError):
            await junkie_client.keys.get(1)

    def test_without_a_loop(junkie_emulator):
        program = f"import asyncio, bot; print(asyncio.run(bot.give_key({USER})))"
        assert subprocess.check_output([sys.executable, "-c", program]).startswith(b"JNK-")
        assert junkie_emulator.calls == {"createKey": 1}
"""


def test_pytest_finds_the_plugin() -> None:
    """It has an entry point, to a module beside the package; install anew if this fails."""
    [found] = [one for one in entry_points(group="pytest11") if one.name == "junkie_async"]
    assert found.value == "pytest_junkie_async"


def test_in_strict_mode(tmp_path: Path) -> None:
    """Each fixture does what it says in pytest-asyncio's strict mode."""
    write(tmp_path, bot=BOT, test_bot=TESTS)
    ended = run(tmp_path, "--asyncio-mode=strict")
    assert "5 passed in" in ended.out, ended.out


def test_in_auto_mode_by_several_processes(tmp_path: Path) -> None:
    """Likewise in auto mode, where no test needs a mark, and with pytest-xdist."""
    write(tmp_path, bot=BOT, test_bot=TESTS.replace("@pytest.mark.asyncio", ""))
    ended = run(tmp_path, "--asyncio-mode=auto", "-n", "2")
    assert "5 passed in" in ended.out, ended.out


def test_loops_of_other_scopes_and_plugins(tmp_path: Path) -> None:
    """The emulator answers tests that don't run in the loop of its fixture."""
    tests = """
        import pytest
        from junkie_async import JunkieClient

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.mark.asyncio(loop_scope="session")
        async def test_session(junkie_emulator):
            async with JunkieClient() as junkie:
                await junkie.keys.create(provider_id=1)

        @pytest.mark.anyio
        async def test_anyio(junkie_client):
            await junkie_client.keys.create(provider_id=1)
    """
    pytest.importorskip("anyio")
    write(tmp_path, test_loops=tests)
    ended = run(tmp_path)
    assert "2 passed in" in ended.out, ended.out


def test_fixtures_are_listed(tmp_path: Path) -> None:
    """`pytest --fixtures` tells what each one is."""
    listed = run(tmp_path, "--fixtures").out.splitlines()
    for name in FIXTURES:
        [line] = [number for number, text in enumerate(listed) if text.startswith(f"{name} -- ")]
        assert listed[line + 1].startswith("    ")
        assert not listed[line + 1].startswith("    no docstring")


def test_a_run_without_fixtures_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no fixture is used, neither the package nor what it brings is imported."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # it would bring sqlite3
    tests = """
        import sys

        def test_nothing():
            assert "pytest_junkie_async" in sys.modules
            libraries = {"aiohttp", "attr", "jsonschema_rs", "msgspec", "sqlite3"}
            assert not libraries & sys.modules.keys()
            assert not [name for name in sys.modules if name.startswith("junkie_async")]
    """
    write(tmp_path, test_imports=tests)
    ended = run(tmp_path)
    assert "1 passed in" in ended.out, ended.out


def test_without_the_emulators_libraries(tmp_path: Path) -> None:
    """A fixture says which extra brings what is missing; a test that uses none passes."""
    tests = """
        def test_emulator(junkie_emulator): ...
        def test_factory(junkie_factory): ...
        def test_nothing(): ...
    """
    write(tmp_path, test_it=tests)
    ended = run(tmp_path, before="import sys; sys.modules['jsonschema_rs'] = None")
    assert "1 passed, 2 errors in" in ended.out
    assert (
        ended.out.count('The fixtures need jsonschema-rs: pip install "junkie_async[pytest]"') >= 2
    )


def test_without_pytest_asyncio(tmp_path: Path) -> None:
    """Only `junkie_client` needs it, and says so."""
    tests = """
        def test_client(junkie_client): ...
        def test_emulator(junkie_emulator): ...
    """
    write(tmp_path, test_it=tests)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n", "utf-8")
    ended = run(
        tmp_path,
        *("-p", "pytest_junkie_async"),
        before="import sys; sys.modules['pytest_asyncio'] = None",
        PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",
    )
    assert "1 passed, 1 error in" in ended.out
    assert 'junkie_client needs pytest-asyncio: pip install "junkie_async[pytest]"' in ended.out
    assert "Traceback" not in ended.out


def test_values_depend_on_the_test_alone(tmp_path: Path) -> None:
    """Neither the order of tests nor which of them run changes what the factory makes."""
    tests = """
        import pathlib

        def note(name, factory):
            pathlib.Path(name).write_text("\\n".join(key.key_value for key in factory.keys(2)))

        def test_one(junkie_factory): note("one", junkie_factory)
        def test_two(junkie_factory): note("two", junkie_factory)
    """
    write(tmp_path, test_it=tests)
    seen = []
    for order in (["test_it.py"], ["test_it.py::test_two", "test_it.py::test_one"]):
        run(tmp_path, *order)
        seen.append([(tmp_path / name).read_text("utf-8") for name in ("one", "two")])
    assert seen[0] == seen[1]
    assert len({*"\n".join(seen[0]).split()}) == 4
