import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyramid_reid.datasets import labels


@pytest.mark.parametrize(
    ("written", "plain"),
    [(" 17 ", "17"), ("17.0", "17"), ("17,00", "17"), ("0017", "0017"), ("1.5", "1.5"),
     ("A-017 ", "A-017"), ("e\u0301va", "\u00e9va"), ("c1.0", "c1.0")],
)  # fmt: skip
def test_a_label_is_made_plain(written, plain):
    assert labels.plain(written) == plain


@pytest.mark.parametrize(
    ("label", "said"),
    [("", "is empty"), ("NaN", "is empty"), ("None", "is empty"), ("-1", "neither"),
     ("1.5", "neither"), ("2.02401E+11", "spreadsheet has shortened"), ("a\nb", "control")],
)  # fmt: skip
def test_what_is_no_label_says_why(label, said):
    assert said in labels.problem(label)


@pytest.mark.parametrize("label", ["17", "0017", "A-017", "c1s3", "Zoë", "12e4", "10.0.0.7", "²"])
def test_numbers_and_names_are_labels(label):
    assert labels.problem(label) is None


def test_whole_numbers_stand_for_themselves():
    assert labels.numbers(["0017", "3", "2147483647"]) == (
        {"0017": 17, "3": 3, "2147483647": 2_147_483_647},
        False,
    )


def test_names_are_numbered_in_natural_order():
    assert labels.numbers(["c10", "c2", "c2", "c1s3", "c1"]) == (
        {"c1": 1, "c1s3": 2, "c2": 3, "c10": 4},
        True,
    )


@pytest.mark.parametrize("long", ["2147483648", "20240117001", "9" * 5000])
def test_a_long_number_is_a_name(long):
    assert labels.numbers([long, "5"]) == ({"5": 1, long: 2}, True)


def test_what_differs_in_zeros_case_blanks_or_form_alone_is_a_question():
    written = ["17", "0017", "A-17", "a-017", "e\u0301va", "\u00c9va", "170", "A-170", "1a7"]
    assert labels.alike(written) == [
        ["0017", "17"],
        ["A-17", "a-017"],
        ["e\u0301va", "\u00c9va"],
    ]
    assert labels.alike(["100", "10", "1", "0", "1-0", "10-"]) == []


def test_labels_that_look_alike_are_told_apart():
    assert labels.shown(["17", "0017"]) == "'17' and '0017'"
    assert labels.shown(["e\u0301", "\u00e9"]) == r"'e\u0301' and '\xe9'"


@given(st.lists(st.text("a0129-", min_size=1, max_size=6), min_size=1, max_size=8, unique=True))
def test_numbers_depend_on_the_labels_alone_and_differ(written):
    found, named = labels.numbers(written)
    assert set(found) == set(written)
    assert labels.numbers(reversed(written)) == (found, named)
    if named or not labels.alike(written):
        assert len(set(found.values())) == len(written)
    if named:
        assert sorted(found.values()) == list(range(1, len(written) + 1))


@given(st.lists(st.text(max_size=5), max_size=8))
def test_questions_hold_each_label_once(written):
    groups = labels.alike(written)
    every = list(itertools.chain.from_iterable(groups))
    assert len(every) == len(set(every))
    assert set(every) <= set(written)
    assert all(len(group) > 1 for group in groups)
