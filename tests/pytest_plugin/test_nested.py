"""The plugin in another pytest run, as users have it.

Most runs are in this process, by `pytester`. Those that are about processes or imports get one of
their own. Only `test_a_run_without_the_fixtures_imports_nothing`, and the README's tests, load the
plugin by its entry point: looking for entry points takes a run longer than all the rest.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path
from textwrap import dedent

import pytest

# `pytester` forgets the modules that a run imports. Extension modules such as jsonschema_rs must
# not be imported twice in a process, so they are imported before.
import junkie_async.pytest_plugin  # noqa: F401

from .nested import run, write

pytest_plugins = ["pytester"]

# Ours last: it imports pytest_asyncio, and pytest warns of plugins that are imported already.
PLUGINS = ("pytest_asyncio.plugin", "anyio.pytest_plugin", "xdist.plugin", "pytest_junkie_async")
FIXTURES = (
    *("junkie_client", "junkie_emulator", "junkie_factory", "junkie_faults"),
    "junkie_instant_waits",
)

BOT = """
    from junkie_async import JunkieClient, JunkieError, RetryPolicy

    async def give_key(user, attempts=1):
        try:
            async with JunkieClient(retry=RetryPolicy(attempts=attempts)) as junkie:
                return (await junkie.keys.create(provider_id=42, discord_id=user)).key_value
        except JunkieError:
            return "Please try again later."
"""

TESTS = """
    import subprocess, sys, time
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

    @pytest.mark.asyncio
    async def test_an_outage_takes_no_time(junkie_faults, junkie_instant_waits, junkie_emulator):
        started = time.monotonic()
        with junkie_faults(throttle_rate=1.0, retry_after=60):
            assert await bot.give_key(USER, attempts=3) == "Please try again later."
        assert junkie_emulator.requests == 3
        assert time.monotonic() - started < 5

    def test_without_a_loop(junkie_emulator):
        program = f"import asyncio, bot; print(asyncio.run(bot.give_key({USER})))"
        assert subprocess.check_output([sys.executable, "-c", program]).startswith(b"JNK-")
        assert junkie_emulator.calls == {"createKey": 1}
"""


@pytest.fixture
def nested(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder for pytest runs in this process, without plugins but those of `PLUGINS`."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return pytester


def load(*plugins: str) -> list[str]:
    """Return the arguments that load plugins."""
    return [argument for name in plugins for argument in ("-p", name)]


def run_tests(nested: pytest.Pytester, *arguments: str, **files: str) -> pytest.RunResult:
    """Write Python files, given without their ending, and run pytest in this process."""
    write(nested.path, **files)
    return nested.runpytest_inprocess("-p", "no:cacheprovider", *load(*PLUGINS), *arguments)


def forget_modules(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Remove modules and their submodules until the end of the test."""
    for loaded in list(sys.modules):
        if any(loaded == name or loaded.startswith(f"{name}.") for name in names):
            monkeypatch.delitem(sys.modules, loaded)


def test_pytest_finds_the_plugin() -> None:
    """The entry point is a module beside the package. Install the package again if this fails."""
    [found] = [one for one in entry_points(group="pytest11") if one.name == "junkie_async"]
    assert found.value == "pytest_junkie_async"


def test_in_strict_mode(nested: pytest.Pytester) -> None:
    """Each fixture works in pytest-asyncio's strict mode."""
    result = run_tests(nested, "--asyncio-mode=strict", bot=BOT, test_bot=TESTS)
    result.assert_outcomes(passed=6)


@pytest.mark.slow
def test_in_auto_mode_by_several_processes(tmp_path: Path) -> None:
    """Each fixture works in auto mode, where no test needs a mark, and with pytest-xdist."""
    write(tmp_path, bot=BOT, test_bot=TESTS.replace("@pytest.mark.asyncio", ""))
    arguments = [*load(*PLUGINS), "--asyncio-mode=auto", "-n", "2"]
    ended = run(tmp_path, *arguments, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    assert "6 passed in" in ended.out, ended.out


def test_loops_of_other_scopes_and_plugins(nested: pytest.Pytester) -> None:
    """The emulator serves tests that do not run in the event loop of its fixture."""
    pytest.importorskip("anyio")
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
    run_tests(nested, test_loops=tests).assert_outcomes(passed=2)


def test_fixtures_are_listed(nested: pytest.Pytester) -> None:
    """`pytest --fixtures` shows a description of each fixture."""
    listed = run_tests(nested, "--fixtures").outlines
    for name in FIXTURES:
        [line] = [number for number, text in enumerate(listed) if text.startswith(f"{name} -- ")]
        assert listed[line + 1].startswith("    ")
        assert not listed[line + 1].startswith("    no docstring")


def test_a_run_without_the_fixtures_imports_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that uses no fixture imports neither the package nor its dependencies."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # coverage imports sqlite3
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


def test_without_the_emulators_libraries(
    nested: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fixture whose library is missing is an error; a test that uses none passes."""
    tests = """
        def test_emulator(junkie_emulator): ...
        def test_factory(junkie_factory): ...
        def test_nothing(): ...
    """
    forget_modules(monkeypatch, "junkie_async.emulator", "junkie_async.pytest_plugin")
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    result = run_tests(nested, test_it=tests)
    result.assert_outcomes(passed=1, errors=2)
    hints = [line for line in result.outlines if 'pip install "junkie_async[pytest]"' in line]
    assert len(hints) >= 2


def test_without_pytest_asyncio(nested: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pytest-asyncio only `junkie_client` fails, without a traceback."""
    tests = """
        def test_client(junkie_client): ...
        def test_emulator(junkie_emulator): ...
    """
    forget_modules(monkeypatch, "pytest_junkie_async")
    monkeypatch.setitem(sys.modules, "pytest_asyncio", None)
    # The usual settings have one for pytest-asyncio, which this run does not know.
    nested.path.joinpath("test_it.py").write_text(dedent(tests), "utf-8")
    nested.path.joinpath("pytest.ini").write_text("[pytest]\nfilterwarnings = error\n", "utf-8")
    result = nested.runpytest_inprocess(*load("pytest_junkie_async"))
    result.assert_outcomes(passed=1, errors=1)
    assert 'pip install "junkie_async[pytest]"' in result.stdout.str()
    assert "Traceback" not in result.stdout.str()


def test_values_depend_on_the_test_alone(nested: pytest.Pytester) -> None:
    """What the factory creates depends neither on the order nor on the selection of tests."""
    tests = """
        import pathlib

        def note(name, factory):
            pathlib.Path(name).write_text("\\n".join(key.key_value for key in factory.keys(2)))

        def test_one(junkie_factory): note("one", junkie_factory)
        def test_two(junkie_factory): note("two", junkie_factory)
    """
    seen = []
    for order in (["test_it.py"], ["test_it.py::test_two", "test_it.py::test_one"]):
        run_tests(nested, *order, test_it=tests).assert_outcomes(passed=2)
        files = [nested.path / name for name in ("one", "two")]
        seen.append([file.read_text("utf-8") for file in files])
    assert seen[0] == seen[1]
    assert len({*"\n".join(seen[0]).split()}) == 4
