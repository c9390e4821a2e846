"""The README's commands are there, and the help that it quotes is the command line's own."""

from __future__ import annotations

import pytest

from .document import PATH, blocks, commands, help_of, with_help

README = PATH.read_text("utf-8")
DATA = {"ini", "json", "text", "toml", "yaml"}


@pytest.mark.parametrize("command", commands(README))
def test_commands_are_there(command: str) -> None:
    """With each of their options."""
    code, out = help_of(f"{command} --help")
    assert code == 0, out


def test_help_is_what_the_command_line_says() -> None:
    """`python -m tests.readme.update` makes it so."""
    assert with_help(README) == README, "stale: run python -m tests.readme.update"
    assert README.count("<!-- help: ") == README.count("<!-- /help -->") >= 1


def test_each_block_is_of_a_known_kind() -> None:
    """So that none escapes its test by the name of its language."""
    assert {block.language for block in blocks(README)} <= {"python", "console"} | DATA
    assert README.count("```") == 2 * len(blocks(README))


# --- how the document is read ---------------------------------------------------------------------

DOCUMENT = """\
Use `junkie demo`, then `junkie export keys.csv --format csv`, or `python`.

- In a list:

  ```console
  $ pip install . && KEY=1 junkie serve --port 8080 \\
      --latency 1 | tee log   # `junkie nothing`
  junkie ... --help
  ```

```python
await nothing()
```

<!-- help: junkie serve --help -->
stale
<!-- /help -->
<!-- help: junkie --help --><!-- /help -->
"""


def test_blocks_are_found() -> None:
    """With their languages, without their indentation, and with the lines that they begin at."""
    console, python = blocks(DOCUMENT)
    assert (console.language, python.language) == ("console", "python")
    assert (console.line, python.line) == (6, 12)
    assert DOCUMENT.splitlines()[python.line - 1] == python.text.strip() == "await nothing()"
    assert console.text.startswith("$ pip")
    assert python.awaits
    assert blocks(DOCUMENT, "python") == [python]


def test_commands_are_found() -> None:
    """In blocks and in the text, whatever stands around them."""
    assert commands(DOCUMENT) == [
        "junkie serve --port 8080 --latency 1",
        "junkie --help",
        "junkie demo",
        "junkie export keys.csv --format csv",
    ]


@pytest.mark.parametrize("command", ["junkie nothing --help", "junkie serve --nothing 1 --help"])
def test_commands_that_are_not_there_are_found(command: str) -> None:
    """Be it a command's name or an option's that is wrong."""
    assert help_of(command)[0] == 2


def test_stale_help_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its comments and nowhere else; once more changes nothing, whatever the terminal."""
    fresh = with_help(DOCUMENT)
    assert "stale" not in fresh
    assert fresh.count("Usage: junkie serve [OPTIONS]") == 1
    assert fresh.startswith(DOCUMENT[: DOCUMENT.index("stale")])
    assert all(len(line) <= 80 for line in fresh.splitlines())
    for name, value in {"COLUMNS": "200", "TERM": "xterm-256color", "FORCE_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    assert with_help(fresh) == fresh


def test_help_that_is_none() -> None:
    """A document that quotes what is not there is not written."""
    with pytest.raises(ValueError, match="exit code 2"):
        with_help("<!-- help: junkie nothing --help -->\n<!-- /help -->")
