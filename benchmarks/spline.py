"""Rational-quadratic splines against nflows: a million elements, ten bins, float32, the CPU.

pip install --no-deps nflows
python benchmarks/spline.py
"""

from __future__ import annotations

import torch
from nflows.transforms.splines.rational_quadratic import unconstrained_rational_quadratic_spline

from glottis.likelihood.splines import RationalQuadraticSpline
from harness import Claim, compare, version

ELEMENTS, BINS, BOUND = 1_000_000, 10, 5.0
MINIMA = {"minimum_bin": 1e-3, "minimum_derivative": 1e-3}


def agree(ours, theirs) -> bool:
    """Both are float32: single elements lie where it cannot tell the slope."""
    errors = [(a - b).abs() / (1 + b.abs()) for a, b in zip(ours, theirs, strict=True)]
    return all((error < 1e-3).double().mean() > 0.9999 for error in errors)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = (2 * torch.rand(ELEMENTS) - 1) * BOUND * 1.1
    raw = [torch.randn(ELEMENTS, size) for size in (BINS, BINS, BINS - 1)]
    leaves = [t.clone().requires_grad_() for t in (x, *raw)]

    def ours(inverse: bool):
        with torch.no_grad():
            spline = RationalQuadraticSpline(*raw, BOUND, **MINIMA)
            return spline.inverse_and_ladj(x) if inverse else spline.call_and_ladj(x)

    def theirs(inverse: bool):
        with torch.no_grad():
            return unconstrained_rational_quadratic_spline(x, *raw, inverse, tail_bound=BOUND)

    def our_gradients():
        out = RationalQuadraticSpline(*leaves[1:], BOUND, **MINIMA).call_and_ladj(leaves[0])
        return torch.autograd.grad(out[0].sum() + out[1].sum(), leaves)

    def their_gradients():
        out = unconstrained_rational_quadratic_spline(*leaves, tail_bound=BOUND)
        return torch.autograd.grad(out[0].sum() + out[1].sum(), leaves)

    for name, inverse in (("forward", False), ("inverse", True)):
        what = f"spline {name}, 1,000,000 elements, {BINS} bins, float32, one thread"
        claim = Claim(what, "python benchmarks/spline.py", version("nflows"), least=5)
        compare(
            claim,
            lambda inverse=inverse: ours(inverse),
            lambda inverse=inverse: theirs(inverse),
            agree,
            repeats=5,
            threads=1,
        )
    what = f"spline forward and backward, 1,000,000 elements, {BINS} bins, float32, one thread"
    claim = Claim(what, "python benchmarks/spline.py", version("nflows"), least=5)
    compare(claim, our_gradients, their_gradients, agree, repeats=3, threads=1)


if __name__ == "__main__":
    main()
