"""Semi-coupled dictionaries: features of low resolution are told in terms of high resolution.

After SLD²L (Jing et al., CVPR 2015), as far as it concerns features that a network has made: a
dictionary for each resolution, and a map between the codes of a crop and of its down-sampled copy,
learned in turn as by Wang et al. (CVPR 2012). SLD²L does so for patches of hand-made features, with
low-rank and discriminative terms besides.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

ATOMS = 256
SPARSITY = 0.02
"""Weight of the codes' absolute values, beside squared errors of unit vectors."""
COUPLING = 0.1
"""Weight of the squared difference between HR codes and mapped LR codes."""
RIDGE = 0.01
ROUNDS, STEPS = 15, 100
"""Set, as the weights above, before anything was judged."""


class Coupled:
    """Dictionaries of a crop's features and of its down-sampled copy's, and the map between.

    Args:
        low, high: unit features of copies and of the crops that they were made of.
        seed: of the atoms that the dictionaries start from: pairs of crop and copy.
    """

    def __init__(
        self, low: Annotated[Tensor, "N D"], high: Annotated[Tensor, "N D"], seed: int
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(low), generator=generator)[:ATOMS]
        self.low, self.high = low[chosen], high[chosen]
        self.map = torch.eye(len(chosen))
        of_low, of_high = codes(low, self.low), codes(high, self.high)
        pull = COUPLING**0.5
        for _ in range(ROUNDS):
            of_low = codes(
                torch.cat([low, pull * of_high], 1), torch.cat([self.low, pull * self.map], 1)
            )
            of_high = codes(
                torch.cat([high, pull * of_low @ self.map], 1),
                torch.cat([self.high, pull * torch.eye(len(chosen))], 1),
            )
            self.low, self.high = unit(solve(of_low, low)), unit(solve(of_high, high))
            self.map = solve(of_low, of_high)

    def of_low(self, features: Annotated[Tensor, "N D"]) -> Annotated[Tensor, "N D"]:
        """Features of LR crops in terms of HR ones."""
        return codes(features, self.low) @ self.map @ self.high

    def of_high(self, features: Annotated[Tensor, "N D"]) -> Annotated[Tensor, "N D"]:
        """Features of HR crops in the same terms."""
        return codes(features, self.high) @ self.high


def codes(
    features: Annotated[Tensor, "N D"], dictionary: Annotated[Tensor, "K D"]
) -> Annotated[Tensor, "N K"]:
    """The codes A that minimise ½ |features - A dictionary|² + SPARSITY |A|₁.

    By FISTA (Beck and Teboulle, 2009).
    """
    products = dictionary @ dictionary.T
    step = 1 / torch.linalg.matrix_norm(products, 2)
    found = ahead = torch.zeros(len(features), len(dictionary))
    wanted, momentum = features @ dictionary.T, 1.0
    for _ in range(STEPS):
        before = found
        found = torch.nn.functional.softshrink(
            ahead - step * (ahead @ products - wanted), float(step * SPARSITY)
        )
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = found + (momentum - 1) / following * (found - before)
        momentum = following
    return found


def solve(given: Annotated[Tensor, "N K"], wanted: Annotated[Tensor, "N D"]) -> Tensor:
    """The matrix X (K, D) that minimises |wanted - given X|² + RIDGE |X|²."""
    ridge = RIDGE * torch.eye(given.shape[1])
    return torch.linalg.solve(given.T @ given + ridge, given.T @ wanted)


def unit(dictionary: Annotated[Tensor, "K D"]) -> Annotated[Tensor, "K D"]:
    """The dictionary with atoms of length 1; those that nothing uses stay 0."""
    return torch.nn.functional.normalize(dictionary, eps=1e-6)
