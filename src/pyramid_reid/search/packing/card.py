"""The model card: README.md of a model folder, made of its description alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyramid_reid.core.params import BRANCHES
from pyramid_reid.search.description import Description, Weights

WHAT = (
    "Restores crops of people at three scales, gives each resolution's feature, and compares people"
    " by the weighted sum of four cosine distances."
)
USE = """\
import pyramid_reid

model = pyramid_reid.load("this folder")
features = model.embed(queries), model.embed(gallery)
distmat = pyramid_reid.distances(*features, model.weights)
"""
MISUSE = """\
The model says which crops look alike, and a rank is no identification: the first hit of a
gallery that does not hold the person is somebody else, and people in like clothes are near each
other. Let a person look at the pictures before anything follows from a hit, and nothing that
harms anybody follow from a hit alone.

Finding people again across cameras is processing of personal data, in many places of biometric
data: before you do it, know the law's purpose that covers it, tell the people who must be told,
keep crops and features no longer than that purpose needs (`pyramid-reid forget` removes them
for good), let few people search, and keep a log of who searched for whom. Features are personal
data as the crops are.

The networks know the people, clothes, seasons and cameras that trained them. On others they are
worse than any figure here, and not equally so for all groups of people: nobody has measured
that. Measure it on your own cameras (`pyramid-reid evaluate`) before you rely on it."""
"""What everybody must read, in the card of each model."""


def text(
    description: Description,
    thresholds: Sequence[Mapping[str, float]] = (),
    figures: Mapping[str, Mapping[str, float]] | None = None,
) -> str:
    """The card as Markdown.

    Args:
        thresholds: rows of the calibration's errors, as `evaluation.calibration.errors_at` gives.
        figures: `metrics/fusion.json`; None where nothing was tested.
    """
    parts = [
        f"# {description.name}: a model of pyramid-reid",
        WHAT,
        f"```python\n{USE}```",
        f"## What is in it\n\n{_networks(description)}",
        _trained(description),
        f"## Where it was tested\n\n{_tested(description, figures)}",
        f"## Probability of the same person\n\n{_calibration(description, thresholds)}",
        f"## Use and misuse\n\n{MISUSE}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _networks(description: Description) -> str:
    restorer = description.restorer
    rows = [
        "| branch | scale | network | input (height×width) | weight |",
        "|---|---|---|---|---|",
    ]
    for branch, scale in zip(BRANCHES, (1, *restorer.scales), strict=True):
        network = description.branches[branch]  # type: ignore[index]
        share = description.weights[branch]  # type: ignore[index]
        size = f"{network.height}×{network.width}"
        rows.append(f"| {branch} | ×{scale} | {network.network} | {size} | {share:.4g} |")
    files = {restorer.file: restorer} | {each.file: each for each in description.branches.values()}
    rows += [
        "",
        f"The restorer is {restorer.extractor}."
        + (" Features are the mean of a crop's and its mirror image's." * description.mirrored),
        "",
        "| file | trained on | licence | SHA-256 |",
        "|---|---|---|---|",
        *(_file(name, weights) for name, weights in files.items()),
    ]
    return "\n".join(rows)


def _file(name: str, weights: Weights) -> str:
    trained_on, licence = (
        said.replace("|", "/").replace("\n", " ") for said in (weights.trained_on, weights.licence)
    )
    return f"| {name} | {trained_on} | {licence} | {weights.sha256[:16]}… |"


def _trained(description: Description) -> str:
    if not description.trained:
        return ""
    rows = [f"- {key.replace('_', ' ')}: {value}" for key, value in description.trained.items()]
    said = "The table above says which files these people trained."
    return f"## The run that made it\n\n{said}\n\n" + "\n".join(rows)


def _tested(description: Description, figures: Mapping[str, Mapping[str, float]] | None) -> str:
    if figures is None:
        return "Nowhere: nothing was trained for it and nobody measured it on people of yours."
    splits = int(description.trained.get("splits") or 1)
    mean = "On the split's test people, with these networks"
    if splits > 1:
        mean = (
            f"On test people of the set, mean over {splits} splits; this is the model of the first"
            " of them, and has seen test people of the others in training"
        )
    rows = [
        f"{mean}, in percent (docs/method.md of the project says what the figures mean):",
        "",
        "| ranking | Rank-1 | mAP |",
        "|---|---|---|",
        *(
            f"| {name} | {of['rank1']:.1f} | {of['mAP']:.1f} |"
            for name, of in figures.items()
            if not name.startswith("whitened")  # a model does not whiten
        ),
    ]
    return "\n".join(rows)


def _calibration(description: Description, thresholds: Sequence[Mapping[str, float]]) -> str:
    fitted = description.calibration
    if fitted is None:
        return f"None: {description.why_no_calibration}."
    fit = (
        f"1 / (1 + exp({fitted.slope:g} D + {fitted.intercept:g})) of the fused distance D, fitted"
        f" on {fitted.same_pairs:,} pairs of the same and {fitted.different_pairs:,} of different"
        f" people among {fitted.identities} validation identities, both kinds with the same total"
        " weight: it is the probability where as many pairs are the same as are different. In a"
        " gallery of thousands most pairs are different, and the share of false hits among those of"
        " a high probability is larger."
    )
    rows = [
        fit,
        "",
        "| from this probability on | distance | false accepts (%) | false rejects (%) |",
        "|---|---|---|---|",
        *(
            f"| {row['probability']:g} | {row['distance']:.3f} | {row['false_accepts']:.2f}"
            f" | {row['false_rejects']:.2f} |"
            for row in thresholds
        ),
        "",
        "Counted on the pairs that it was fitted on, so a little flattering.",
    ]
    return "\n".join(rows)
