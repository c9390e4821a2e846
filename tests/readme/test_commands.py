"""The commands of README.md and `.docs` exist, and the help that they quote is the current one."""

from __future__ import annotations

import pytest

from .document import PAGES, ROOT, blocks, commands, help_of, with_help

DOCUMENTS = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in PAGES}
LANGUAGES = {"python", "console", "json", "sql", "text", "toml", "yaml"}


@pytest.mark.parametrize("command", commands("\n".join(DOCUMENTS.values())))
def test_commands_exist(command: str) -> None:
    """Each command and each of its options is accepted."""
    code, out = help_of(f"{command} --help")
    assert code == 0, out


def test_quoted_help_is_current() -> None:
    """`python -m tests.readme.update` updates it."""
    stale = [name for name, text in DOCUMENTS.items() if with_help(text) != text]
    assert not stale, "run python -m tests.readme.update"
    assert sum(text.count("<!-- help: ") for text in DOCUMENTS.values()) >= 1


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_block_has_a_known_language(name: str) -> None:
    """Otherwise a block would not be tested because of its language's name."""
    found = blocks(DOCUMENTS[name])
    assert {block.language for block in found} <= LANGUAGES
    assert DOCUMENTS[name].count("```") == 2 * len(found)


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
# nothing.py
print(nothing)
```

It prints:

```text
nothing
```

```text
data
```

<!-- help: junkie serve --help -->
stale
<!-- /help -->
<!-- help: junkie --help --><!-- /help -->
"""


def test_blocks_are_found() -> None:
    """They have a language, a first line, no indentation, and the output that follows."""
    console, python, output, data = blocks(DOCUMENT)
    assert (console.language, python.language, data.language) == ("console", "python", "text")
    assert (console.line, python.line) == (6, 12)
    assert DOCUMENT.splitlines()[python.line - 1] == python.text.splitlines()[0]
    assert console.text.startswith("$ pip")
    assert python.output == output.text == "nothing\n"
    assert (console.output, data.output) == ("", "")
    assert (python.file_name, console.file_name) == ("nothing.py", None)
    assert blocks(DOCUMENT, "python") == [python]


def test_commands_are_found() -> None:
    """They are found in blocks and in running text."""
    assert commands(DOCUMENT) == [
        "junkie serve --port 8080 --latency 1",
        "junkie --help",
        "junkie demo",
        "junkie export keys.csv --format csv",
    ]


@pytest.mark.parametrize("command", ["junkie nothing --help", "junkie serve --nothing 1 --help"])
def test_unknown_commands_fail(command: str) -> None:
    """Unknown options fail too."""
    assert help_of(command)[0] == 2


def test_stale_help_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the text between the comments changes, and a second run changes nothing."""
    fresh = with_help(DOCUMENT)
    assert "stale" not in fresh
    assert fresh.count("Usage: junkie serve [OPTIONS]") == 1
    assert fresh.startswith(DOCUMENT[: DOCUMENT.index("stale")])
    assert all(len(line) <= 80 for line in fresh.splitlines())
    for name, value in {"COLUMNS": "200", "TERM": "xterm-256color", "FORCE_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    assert with_help(fresh) == fresh


def test_help_of_an_unknown_command_is_an_error() -> None:
    """A document that quotes an unknown command is not written."""
    with pytest.raises(ValueError, match="exit code 2"):
        with_help("<!-- help: junkie nothing --help -->\n<!-- /help -->")
