"""Text on the terminal: whoever wrote it, it moves no cursor, hides no line and is no markup."""

import typer
from rich.console import Console
from rich.markup import escape

_KEPT = set("\n\t\xa0\u202f")  # and what is printable: no control, no right-to-left, nothing without a glyph


def plain(text: object) -> str:
    """A text with all that is not seen written out: ``\\x1b`` for an escape."""
    return "".join(
        each if each.isprintable() or each in _KEPT else each.encode("unicode_escape").decode()
        for each in str(text)
    )


def inert(text: object) -> str:
    """The same for places where rich reads markup."""
    return escape(plain(text))


def say(text: object, *, err: bool = False) -> None:
    """A line for people: on standard output, or where complaints go."""
    typer.echo(plain(text), err=err)


def wide_console() -> Console:
    """A console that lets a table be as wide as it is where there is no terminal to fit into."""
    console = Console()
    return console if console.is_terminal else Console(width=1000)
