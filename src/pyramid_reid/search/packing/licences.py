"""Under which terms crops of a set may be used, in a few words."""

from __future__ import annotations

DRAWN = "drawn by this program, which is under the MIT licence; no real person is in it"
OWN = "the user's own crops: whoever gives the model on knows what the people in them agreed to"
RESEARCH = "released for research; the terms of its authors hold for the weights, too"

_OTHERS = {
    "synthetic": DRAWN,
    "manifest": OWN,
    "folders": OWN,
    "msmt17": "released for research only, to those who sign its authors' agreement",
    "dukemtmc_reid": "withdrawn by its authors in 2019: do not give the model on",
}


def licence_of(name: str) -> str:
    """Terms of a set, by `data.name`."""
    return _OTHERS.get(name, RESEARCH)
