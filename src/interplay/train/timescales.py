"""Variables on which runs of different settings may fall together: S, e-folds, timescales, windows, noise.

Every one is computed from the specification alone, so that theories are compared on the same footing. Convention:
torch's ``v = μ v + g`` and m = `RunSpec.decay_gain`, so the decay of one step is η_t λ / m.
"""

from __future__ import annotations

import math

import numpy as np

from interplay.optim.schedules import all_rates
from interplay.spec import RunSpec


def collapse_variables(spec: RunSpec, steps_per_epoch: int) -> dict[str, float]:
    """The collapse variables of one run with M = ``steps_per_epoch``.

    Returns, by name:
        steps: T = E M.
        sum_of_rates: S = Σ_t η_t (Hardt, Recht, Singer 2016 bound stability by it).
        decay_per_step: η λ / m at the peak rate.
        e_folds: Λ = λ S / m, how often the initial weights are divided by e.
        tau_epochs: τ = m / (η λ M), memory of the weights in epochs at the peak rate (Wang & Aitchison 2405.13698).
        window_epochs: W = (Σ c)² / (M Σ c²) with c_t = η_t Π_{k>t} (1 - η_k λ/m), the effective number of epochs whose
            updates the final weights average, with the schedule taken into account.
        noise_scale: η / (B (1-μ)).
        rotation_per_step: √(2 η λ / (1+μ)), equilibrium angle in radians (Kosson et al. 2305.17212; coupled decay).
        decay_per_example: η λ / (B m).

        tau_epochs is left out without decay, where it is infinite; window_epochs where one step's decay exceeds the
        weights themselves, so that they are no average of updates. noise_scale and rotation_per_step are those of SGD
        and left out for Adam; whatever decay enters is left out for Adam with coupled decay, which has no m.
    """
    rates = np.asarray(all_rates(spec, steps_per_epoch))
    m, lam = spec.decay_gain, spec.weight_decay
    total = float(rates.sum())
    found = {"steps": float(len(rates)), "sum_of_rates": total}
    if spec.optimizer not in ("adam", "adamw"):
        found["noise_scale"] = spec.lr / (spec.batch_size * (1 - spec.momentum))
        found["rotation_per_step"] = math.sqrt(2 * spec.lr * lam / (1 + spec.momentum))
    if m is None:
        return found
    found["decay_per_step"] = spec.lr * lam / m
    found["e_folds"] = lam * total / m
    found["decay_per_example"] = spec.lr * lam / (spec.batch_size * m)
    factors = 1 - rates * lam / m
    if factors.min() > 0:
        # Suffix products: what later steps leave of the update made at t.
        weights = rates * np.append(np.cumprod(factors[::-1])[::-1][1:], 1.0)
        found["window_epochs"] = float(weights.sum()) ** 2 / (steps_per_epoch * float((weights**2).sum()))
    if lam > 0:
        found["tau_epochs"] = m / (spec.lr * lam * steps_per_epoch)
    return {name: value for name, value in found.items() if math.isfinite(value)}
