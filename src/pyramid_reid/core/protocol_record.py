"""The protocol that the crops follow, for later stages: a small file next to the crops.

It records the protocol only, from the set and `simulate.*`, without `evaluation.rule`: another
rule does not change the crops.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pyramid_reid.core.errors import DAMAGED, UserError, reason

FILE = "protocol.json"
Rule = Literal["market1501", "all_shot", "single_shot"]
"""As `retrieval.metrics.Rule`, of which the stages that train know nothing."""


class ProtocolRecord(BaseModel):
    """A protocol as far as it matters once the crops are made.

    Attributes:
        name: of the benchmark.
        rule: by which its publications judge rankings.
        splits: number of identity splits.
        ratios: down-sampling factors of the LR side; empty where resolutions differ by nature.
        interpolation, degradation: how LR crops are made, as `protocol.Protocol` has them.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str
    rule: Rule
    splits: int
    ratios: tuple[int, ...]
    interpolation: Literal["bicubic", "bilinear", "lanczos"]
    degradation: Literal["downsample", "camera"]


def write(folder: Path, record: ProtocolRecord) -> None:
    """Write the record into the folder of the crops."""
    text = json.dumps(record.model_dump(mode="json"), indent=2, sort_keys=True)
    (folder / FILE).write_text(text + "\n", encoding="utf-8", newline="\n")


def read(folder: Path) -> ProtocolRecord:
    """Read the record from the folder of the crops.

    Raises:
        UserError: it is missing or damaged.
    """
    path = folder / FILE
    try:
        return ProtocolRecord.model_validate_json(path.read_bytes())
    except DAMAGED as error:
        raise UserError(
            f"{path} is not a record of a protocol ({reason(error)});"
            " run `dvc repro` to make it again"
        ) from error


def evaluation_rule(given: Rule | None, record: ProtocolRecord) -> Rule:
    """The rule by which rankings are judged.

    Args:
        given: `evaluation.rule`; None keeps the protocol's own.
    """
    return given or record.rule
