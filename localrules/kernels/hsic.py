"""The Hilbert-Schmidt independence criterion in its forms: how much two Gram matrices of one batch depend.

All take Gram matrices as :mod:`localrules.kernels.gram` returns them, and give a scalar that gradients flow through.
To compare many layers with one input and one label matrix, keep their normalised forms
(:mod:`localrules.kernels.normalization`).
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from localrules.errors import UsageError, suggest_names
from localrules.kernels.checks import full_precision, require_pair
from localrules.kernels.gram import ROUNDING
from localrules.kernels.normalization import center, frobenius_inner, normalize, ridge_normalize

Normalizer = Literal["biased", "printed"]


@full_precision
def hsic(a: Tensor, b: Tensor, *, normalizer: Normalizer = "biased", centered: bool = False) -> Tensor:
    """HSIC in its trace form, ``tr(a H b H)`` over ``(m - 1)^2``.

    Gretton et al. 2005 (https://doi.org/10.1007/11564089_7), the biased estimator; Ma, Lewis & Kleijn 2020
    (https://arxiv.org/abs/1908.01580). Han et al. 2023 (https://doi.org/10.12677/sea.2023.122019) print ``(m - 1)^-1``.

    Args:
        a, b: (batch, batch).
        normalizer: ``"biased"``: ``(m - 1)^-2``; ``"printed"``: ``(m - 1)^-1``.
        centered: One of the two is centred already (:func:`~localrules.kernels.normalization.center`); that suffices.

    Returns:
        A scalar, 0 or more for positive semi-definite kernels, up to rounding.

    Raises:
        UsageError: Different shapes, a batch of one, or an unknown normaliser.
    """
    size = require_pair(a, b, "HSIC")
    power = {"biased": 2, "printed": 1}.get(normalizer)
    if power is None:
        raise UsageError(
            f"unknown normalizer {normalizer!r} for HSIC", fix=suggest_names(normalizer, ["biased", "printed"])
        )
    # H is a projection: centring one side is enough.
    return frobenius_inner(a if centered else center(a), b) / float(size - 1) ** power


@full_precision
def normalized_trace(a: Tensor, b: Tensor, *, eps: float = ROUNDING) -> Tensor:
    """``<Ac, Bc> / (|Ac| |Bc|)``: the cosine of the angle between two centred Gram matrices.

    Known as kernel alignment (Cortes et al. 2012, https://www.jmlr.org/papers/v13/cortes12a.html) and as CKA
    (Kornblith et al. 2019, https://arxiv.org/abs/1905.00414).

    Args:
        a, b: (batch, batch), not centred.
        eps: See :func:`~localrules.kernels.normalization.normalize`.

    Returns:
        A scalar in [0, 1] for positive semi-definite kernels; 0, with gradient 0, where either is constant.

    Raises:
        UsageError: Different shapes, or a batch of one.
    """
    require_pair(a, b, "the normalised trace")
    return frobenius_inner(normalize(a, eps=eps), normalize(b, eps=eps))


@full_precision
def nhsic(a: Tensor, b: Tensor, *, eps: float = 1e-5) -> Tensor:
    """Normalised HSIC, ``tr(R_a R_b)`` with ``R = Kc (Kc + eps m I)^-1``.

    The form that the code of Ma, Lewis & Kleijn 2020 (https://arxiv.org/abs/1908.01580) trains on; after Fukumizu et
    al. 2007, "Kernel measures of conditional dependence".

    Args:
        a, b: (batch, batch), positive semi-definite, not centred.
        eps: The paper's code has 1e-5.

    Returns:
        A scalar in [0, m - 1).

    Raises:
        UsageError: Different shapes, or a batch of one.
    """
    require_pair(a, b, "nHSIC")
    return frobenius_inner(ridge_normalize(a, eps=eps), ridge_normalize(b, eps=eps))


@full_precision
def phsic(a: Tensor, b: Tensor) -> Tensor:
    """Plausible HSIC, ``mean((a - mean a) b)``: centring by the global mean alone.

    Pogodin & Latham 2020 (https://arxiv.org/abs/2006.07123): it needs pairs of samples, never the whole matrix.

    Args:
        a, b: (batch, batch).

    Returns:
        A scalar.

    Raises:
        UsageError: Different shapes, or a batch of one.
    """
    size = require_pair(a, b, "pHSIC")
    return frobenius_inner(a - a.mean(), b) / size**2
