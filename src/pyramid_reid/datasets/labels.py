"""Labels of people and cameras as users write them, and their numbers.

Whole numbers are kept. If any label of a column is not one (`A-017`, `c1s3`, a number of ten digits
or more), all labels of the column are names, numbered from 1 in natural order (`c2` before `c10`).
The numbers depend only on the labels, not on the order of the images.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

LARGEST = 2**31 - 1
"""A larger number is taken for a name: tables of crops hold no such numbers."""
MISSING = {"", "nan", "none", "null"}
"""What tables say of a label that is not known, in any case."""
UNWRITABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, and the lone surrogates by which Python stands in for bytes of no UTF-8."""

_WHOLE = re.compile(r"[0-9]+")
_WHOLE_FRACTION = re.compile(r"([0-9]+)[.,]0+")
_SHORTENED = re.compile(r"[0-9]+([.,][0-9]+)?[eE]\+[0-9]+")
_OTHER_NUMBER = re.compile(r"-[0-9]+([.,][0-9]+)?|[0-9]+[.,][0-9]+")


def plain(label: str) -> str:
    """A label without blanks around it, in Unicode's form NFC, and `1` for `1.0`."""
    label = unicodedata.normalize("NFC", label.strip())
    whole = _WHOLE_FRACTION.fullmatch(label)
    return whole[1] if whole else label


def is_missing(label: str) -> bool:
    """Whether a plain label says that it is not known."""
    return label.casefold() in MISSING


def problem(label: str) -> str | None:
    """Why a plain label cannot be one, or None."""
    if is_missing(label):
        return "is empty"
    if UNWRITABLE.search(label):
        return "holds control characters"
    if _SHORTENED.fullmatch(label):
        return (
            "is a long number that a spreadsheet has shortened: format the column as text and"
            " enter it again"
        )
    if _OTHER_NUMBER.fullmatch(label):
        return "is neither a whole number from 0 nor a name"
    return None


def alike(labels: Iterable[str]) -> list[list[str]]:
    """Labels that differ in leading zeros, case, blanks or Unicode's form alone, sorted.

    Whether `17` and `0017` are one person is for their author to say.
    """
    groups = defaultdict(set)
    for label in labels:
        key = unicodedata.normalize("NFKC", plain(label)).casefold()
        groups[re.sub(r"0*([0-9]+)", r"\1", key)].add(label)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def shown(group: Iterable[str]) -> str:
    """Labels in quotes, told apart also where they look the same."""
    group = list(group)
    same = len({unicodedata.normalize("NFC", label) for label in group}) < len(group)
    return " and ".join(ascii(label) if same else repr(label) for label in group)


def numbers(labels: Iterable[str]) -> tuple[dict[str, int], bool]:
    """The number of each plain label, and whether the labels are names.

    Args:
        labels: without `problem`, and none `alike`.
    """
    distinct = set(labels)
    if all(_WHOLE.fullmatch(label) and _value(label) <= _value(str(LARGEST)) for label in distinct):
        return {label: int(label) for label in distinct}, False
    return {label: n for n, label in enumerate(sorted(distinct, key=_natural), 1)}, True


def _value(digits: str) -> tuple[int, str]:
    """What compares as a whole number does, of any length: Python converts no endless ones."""
    digits = digits.lstrip("0")
    return len(digits), digits


def _natural(label: str) -> tuple[list[tuple[bool, int, str]], str]:
    """Sorting key: runs of digits by their value, before letters."""
    parts = re.split(r"([0-9]+)", label)  # digits are every second one
    keys = [(False, *_value(part)) if n % 2 else (True, 0, part) for n, part in enumerate(parts)]
    return [key for key, part in zip(keys, parts, strict=True) if part], label
