"""Finds what can be run in README.md and `.docs`: code blocks, their output, and commands.

A `text` block is the output of the block before it, if nothing but one line that ends in a colon
is between them. Help is quoted between two comments, and `python -m tests.readme.update` updates
it::

    <!-- help: junkie serve --help -->
    <!-- /help -->
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Iterator
from itertools import dropwhile, groupby
from pathlib import Path
from textwrap import dedent

import attrs
from typer.testing import CliRunner

from junkie_async.cli import app

ROOT = Path(__file__).parents[2]
PATH = ROOT / "README.md"
PAGES = (PATH, *sorted((ROOT / ".docs").rglob("*.md")))

_BLOCK = re.compile(r"(?m)^(?P<indent> *)```(?P<language>.*)\n(?P<text>(?s:.*?))^(?P=indent)```$")
_OUTPUT = re.compile(r"\n+(?:[^\n`]*:\n\n)?```text\n(?P<text>(?s:.*?))^```$", re.MULTILINE)
_FILE_NAME = re.compile(r"# ([\w-]+\.py)\n")
_INLINE = re.compile(r"`(junkie [^`]+)`")
_HELP = re.compile(r"(<!-- help: junkie(.*?) -->)(?s:.*?)(<!-- /help -->)")
_ASSIGNMENT = re.compile(r"\w+=")


@attrs.frozen
class Block:
    """A fenced block of code.

    Attributes:
        language: The word after its fence.
        text: Its lines, without their indentation.
        line: The number of its first line in the document, below the fence.
        output: What it prints, as the document says; empty if the document shows nothing.
        page: The document's path below the repository.
    """

    language: str
    text: str = attrs.field(repr=False)
    line: int
    output: str = attrs.field(default="", repr=False)
    page: str = "README.md"

    @property
    def name(self) -> str:
        """Where it is, such as `web_line_12`; a module's name."""
        return f"{Path(self.page).stem}_line_{self.line}".replace("-", "_")

    @property
    def file_name(self) -> str | None:
        """The name of the file that it says it is, in a comment in its first line."""
        found = _FILE_NAME.match(self.text)
        return found[1] if found else None

    @property
    def has_tests(self) -> bool:
        """Whether it is a test file for pytest."""
        return any(
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name.startswith("test_")
            for node in ast.parse(self.text).body
        )


def blocks(document: str, *languages: str, page: str = "README.md") -> list[Block]:
    """Return the blocks of a document, in order: all, or those of some languages."""
    found = [_make_block(document, match, page) for match in _BLOCK.finditer(document)]
    return [block for block in found if not languages or block.language in languages]


def read_blocks(*languages: str) -> list[Block]:
    """Return the blocks of all pages."""
    return [
        block
        for path in PAGES
        for block in blocks(
            path.read_text("utf-8"), *languages, page=path.relative_to(ROOT).as_posix()
        )
    ]


def _make_block(document: str, match: re.Match[str], page: str) -> Block:
    output = _OUTPUT.match(document, match.end())
    return Block(
        match["language"],
        dedent(match["text"]),
        document.count("\n", 0, match.start()) + 2,
        output["text"] if output else "",
        page,
    )


def commands(document: str) -> list[str]:
    """Return the `junkie` commands of a document: from console blocks and from running text."""
    lines = [
        line
        for block in blocks(document, "console")
        for line in block.text.replace("\\\n", " ").splitlines()
    ]
    lines += _INLINE.findall(_BLOCK.sub("", document))
    return list(
        dict.fromkeys(shlex.join(words) for line in lines for words in _split_commands(line))
    )


def _split_commands(line: str) -> Iterator[list[str]]:
    words = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=True)
    words.whitespace_split = True
    for _, group in groupby(words, key=lambda word: set(word) <= set("();<>|&")):
        command = list(dropwhile(_ASSIGNMENT.match, group))
        if command[:1] == ["junkie"]:
            yield [word for word in command if word != "..."]


def help_of(command: str) -> tuple[int, str]:
    """Run a `junkie` command in a plain terminal of 80 columns; return its exit code and output."""
    plain = {"COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"}
    done = CliRunner().invoke(app, shlex.split(command)[1:], env=plain, prog_name="junkie")
    return done.exit_code, done.output


def with_help(document: str, get: Callable[[str], tuple[int, str]] = help_of) -> str:
    """Return a document with the help that it quotes brought up to date.

    Args:
        document: The text.
        get: Runs a command.

    Raises:
        ValueError: A quoted command does not exist.
    """

    def quoted(match: re.Match[str]) -> str:
        begin, rest, end = match.groups()
        code, out = get(f"junkie{rest}")
        if code != 0:
            raise ValueError(f"`junkie{rest}` ends with exit code {code}:\n{out}")
        text = "\n".join(line.rstrip() for line in out.strip().splitlines())
        return f"{begin}\n\n```text\n{text}\n```\n\n{end}"

    return _HELP.sub(quoted, document)
