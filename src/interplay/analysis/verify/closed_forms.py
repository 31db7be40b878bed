"""Problems whose answer is known in closed form, to be put through the same engine as measurements."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class NoisyQuadratic:
    """Gradient h(w - w0) + ξ with Var ξ = s²/B, coupled heavy ball, at stationarity.

    The mean is h w0/(h+λ), the variance η(s²/B)(1+μ) / {(h+λ)(1-μ)[2(1+μ) - η(h+λ)]}, the risk ½h(bias² + variance).
    For small η the optimum is λ* = hκ/(1-κ) with κ = ηs²/(4B(1-μ)h w0²), so λ* grows with η and falls with B: exponents
    (+1, -1, 0, -1) in η, B, E, 1-μ.
    """

    h: float = 1.0
    w0: float = 1.0
    s2: float = 1.0

    def risk(self, lr: float, weight_decay: float, batch_size: float, momentum: float) -> float:
        """Expected excess risk, infinite outside the region of stability."""
        k = self.h + weight_decay
        stable = 2 * (1 + momentum) - lr * k
        if stable <= 0:
            return math.inf
        bias = weight_decay * self.w0 / k
        variance = lr * (self.s2 / batch_size) * (1 + momentum) / (k * (1 - momentum) * stable)
        return 0.5 * self.h * (bias**2 + variance)

    def optimum(self, lr: float, batch_size: float, momentum: float) -> float:
        """λ* for small η, in closed form."""
        kappa = lr * self.s2 / (4 * batch_size * (1 - momentum) * self.h * self.w0**2)
        return self.h * kappa / (1 - kappa)


@dataclass(frozen=True)
class TrackingAverage:
    """Loss -⟨x_t, w⟩ + λ‖w‖²/2 with a random walk of variance q a step behind noise of variance r/B, readout λw, μ = 0.

    With α = ηλ the mean squared error per dimension is [(1-α)² q + α² r/B] / [α(2-α)], least where α²/(1-α) = qB/r:
    λ* is ∝ 1/η exactly. With q ∝ B (drift per example) the exponent of B tends to +1, with q fixed to +½.
    """

    q: float = 1e-4
    r: float = 1.0
    drift_per_example: bool = False
    reference_batch: float = 128.0

    def _q(self, batch_size: float) -> float:
        return self.q * batch_size / self.reference_batch if self.drift_per_example else self.q

    def risk(self, lr: float, weight_decay: float, batch_size: float) -> float:
        """Mean squared error per dimension, infinite where ηλ leaves (0, 2)."""
        a = lr * weight_decay
        if not 0 < a < 2:
            return math.inf
        return ((1 - a) ** 2 * self._q(batch_size) + a**2 * self.r / batch_size) / (a * (2 - a))

    def optimum(self, lr: float, batch_size: float) -> float:
        """λ* from α²/(1-α) = qB/r."""
        c = self._q(batch_size) * batch_size / self.r
        return (-c + math.sqrt(c * c + 4 * c)) / 2 / lr


@dataclass(frozen=True)
class Ridge:
    """(1/2n)‖y - Xw‖² + ½λ‖w‖² by gradient descent from zero in T steps, on one eigendirection of variance h.

    Converged, λ* = σ²/(nτ²) whatever η and B; stopped early, decay only slows what is too slow already and λ* = 0.
    """

    h: float = 1.0
    tau2: float = 1.0
    sigma2: float = 1.0
    n: float = 100.0

    def risk(self, lr: float, weight_decay: float, steps: float) -> float:
        """Expected error of w after ``steps``: the answer of least squares shrunk by c = h/(h+λ)·(1 - (1-η(h+λ))^T)."""
        k = self.h + weight_decay
        if lr * k >= 2:
            return math.inf
        c = self.h / k * (1 - math.pow(1 - lr * k, steps))
        return (1 - c) ** 2 * self.tau2 + c**2 * self.sigma2 / (self.n * self.h)

    def optimum(self) -> float:
        """λ* at convergence."""
        return self.sigma2 / (self.n * self.tau2)


def heavy_ball_rate(lr: float, momentum: float, smallest: float, largest: float) -> float:
    """Spectral radius of heavy ball on a quadratic with curvatures in [ℓ, L]: √μ on a whole interval of η, the plateau.

    Source: Polyak 1964; the interval is [(1-√μ)²/ℓ, (1+√μ)²/L].
    """

    def radius(h: float) -> float:
        matrix = np.array([[1 + momentum - lr * h, -momentum], [1.0, 0.0]])
        return float(np.abs(np.linalg.eigvals(matrix)).max())

    return max(radius(h) for h in (smallest, largest))
