"""Conditions of `--where`: what goes to the store's SQL filter, and what is refused before."""

from __future__ import annotations

import re

from pyramid_reid.core.errors import UserError, reason

LITERAL = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|`[^`]*`")
"""Text and quoted names: what stands inside is no SQL."""
DATE = re.compile(r"'(\d{4}-\d\d-\d\d)[ T](\d\d?)([^']*)'")
HELP = (
    "a condition compares columns, as in \"camera != 'lobby' and time > '2024-05-12 10:00'\" (text"
    " in single quotes)"
)


def condition(where: str) -> str:
    """A condition as the store takes it: one expression, dates in it as `time` is stored.

    Raises:
        UserError: it is empty, holds more than one expression, or its brackets do not match.
    """
    bare = LITERAL.sub("", where)
    if not where.strip():
        raise UserError(f"--where is empty: {HELP}")
    for mark in (";", "--", "/*", "'"):
        if mark in bare:
            what = "a text that does not end" if mark == "'" else f"{mark!r}"
            raise UserError(f"--where {where!r} holds {what}: {HELP}")
    depth = 0
    for letter in bare:
        depth += (letter == "(") - (letter == ")")
        if depth < 0:
            break
    if depth:
        raise UserError(f"--where {where!r} has brackets that do not match: {HELP}")
    return DATE.sub(lambda found: f"'{found[1]}T{found[2].zfill(2)}{found[3]}'", where)


def refused(where: str, error: BaseException, columns: list[str]) -> UserError:
    """What to say of a condition that the store's filter did not take."""
    said = reason(error).partition(". Valid fields")[0].removeprefix("Invalid input, ")
    said = re.split(r", ?/", said)[0].replace("Invalid user input: ", "")
    return UserError(
        f"--where {where!r} is no condition ({said}): {HELP}; the columns are {', '.join(columns)}"
    )


def quoted(text: str) -> str:
    """A text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"
