"""Conditions of `--where`: what goes to the store's SQL filter, and what is refused before."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pyramid_reid.core.errors import UserError, reason
from pyramid_reid.search.times import as_time

LITERAL = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|`[^`]*`")
"""Text and quoted names: what stands inside is no SQL."""
TEXT = r"'(?:[^']|'')*'"
_TIME = r"(?<![\w.])(?:time\b|\"time\"|`time`)(?!\s*[.(])"
_SIGN = r"\s*(?:<=|>=|<>|!=|==|=|<|>)\s*"
COMPARED = re.compile(
    rf"(?P<compared>{_TIME}{_SIGN}{TEXT}|{TEXT}{_SIGN}{_TIME}"
    rf"|{_TIME}\s+(?:not\s+)?between\s+{TEXT}\s+and\s+{TEXT}"
    rf"|{_TIME}\s+(?:not\s+)?in\s*\(\s*{TEXT}(?:\s*,\s*{TEXT})*\s*\))|{LITERAL.pattern}",
    re.IGNORECASE,
)
"""Times that the column `time` is compared with; any other text stands as it is written."""
LONGEST = 100_000
"""Characters of a condition: what a list of a thousand ids needs."""
IN_ONE = 1000
"""Ids in one condition."""
FUNCTIONS = {"lower", "upper", "abs", "cast", "starts_with", "ends_with", "regexp_like"}
"""That a condition may call: others take any amount of memory, as repeat(…) does."""
CALLED = FUNCTIONS | {"in", "and", "or", "not", "between", "like", "ilike", "is", "as"}
"""Words that may stand before a bracket."""
HELP = (
    "a condition compares columns, as in \"camera != 'lobby' and time > '2024-05-12 10:00'\" (text"
    " in single quotes)"
)


def condition(where: str) -> str:
    """A condition as the store takes it: one expression, in which `time` meets what it may equal.

    Raises:
        UserError: it is empty, holds more than one expression, compares `time` with what is none,
            or its brackets do not match.
    """
    bare = LITERAL.sub("''", where)
    if not where.strip():
        raise UserError(f"--where is empty: {HELP}")
    if len(where) > LONGEST:
        raise UserError(f"--where has {len(where):,} characters, at most {LONGEST:,} are read")
    if "'" in bare.replace("''", ""):
        raise UserError(f"--where {where!r} holds a text that does not end: {HELP}")
    if found := re.search(r"--|/\*|[^\w\s.,()<>=!+*/%|'-]", bare):
        raise UserError(f"--where {where!r} holds {found[0]!r}: {HELP}")
    for name in re.findall(r"('|[^\W\d]\w*)\s*\(", bare):  # "repeat"(…) is a call, too
        if name.lower() not in CALLED:
            known = ", ".join(sorted(FUNCTIONS))
            raise UserError(f"--where {where!r} calls {name!r}; functions are {known}: {HELP}")
    depth = 0
    for letter in bare:
        depth += (letter == "(") - (letter == ")")
        if depth < 0:
            break
    if depth:
        raise UserError(f"--where {where!r} has brackets that do not match: {HELP}")
    return COMPARED.sub(_as_stored, where)


def _as_stored(found: re.Match[str]) -> str:
    """A comparison of `time`, its texts written as the store writes times."""
    if found["compared"] is None:
        return found[0]
    return re.sub(TEXT, lambda text: quoted(_time(text[0][1:-1])), found[0])


def _time(text: str) -> str:
    try:
        # an hour may have one digit, as people write it
        return as_time(re.sub(r"(?<=[T ])(\d)(?=:)", r"0\1", text)) or text
    except ValueError as error:
        raise UserError(f"--where {error}: {HELP}") from error


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


def among(identifiers: Sequence[str]) -> Iterator[str]:
    """Conditions that hold for crops of some ids, so many in each that it is not too long."""
    for start in range(0, len(identifiers), IN_ONE):
        yield f"id in ({', '.join(map(quoted, identifiers[start : start + IN_ONE]))})"
