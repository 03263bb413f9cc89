"""Some hundred broken requests; benchmarks/fuzz/http.py tries many more."""

from collections import Counter

import pytest
from benchmarks.fuzz.http import MAKERS, Gallery, fuzz, outcome, serving
from tests.search.conftest import model, model_folder  # noqa: F401
from tests.search.serve.conftest import crops, stored  # noqa: F401

from pyramid_reid.search.serve import run, security


@pytest.mark.filterwarnings("ignore")
def test_no_request_breaks_the_server(stored, model, crops, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(security, "BODY_S", None)  # put back afterwards: `serving` sets them
    monkeypatch.setattr(run, "HEADERS_S", None)
    (stored.folder.parent / "canary.txt").write_text("CANARY-OUTSIDE")
    with serving(stored, model, tmp_path / "log") as port:
        ids = [row["id"] for row in stored.rows(None, 0, 5)]
        pictures = [path.read_bytes() for path in crops[:5]]
        counts = fuzz(Gallery(pictures, ids, port), 300, 7)
    total = sum(counts.values(), Counter())
    assert total["wrong"] == 0
    assert total.total() == 300
    assert total["answered"] > 20
    assert total["refused"] > 100
    assert set(counts) == set(MAKERS)


@pytest.mark.parametrize(
    ("received", "kind"),
    [
        (b"", "closed"),
        (b"HTTP/1.1 500 X\r\n\r\n", "wrong"),
        (b"HTTP/1.1 200 X\r\n\r\nroot:x:0:0", "wrong"),
        (b"HTTP/1.1 200 X\r\n\r\nok", "wrong"),  # without the headers of security
        (b"HTTP/1.1 400 X\r\n\r\nInvalid HTTP request received.", "refused"),
    ],
)
def test_what_counts_as_wrong(received, kind):
    assert outcome(received)[0] == kind
