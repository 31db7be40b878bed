"""Two problems whose best weight decay is known in closed form, trained by the lab's own optimiser.

``quadratic``: the gradient of a weight w is h (w - w0) plus noise of variance s²/B, for ever. Heavy ball with coupled
decay λ comes to rest in a distribution whose risk is known (Mandt, Hoffman and Blei, arXiv 1704.04289, for small
rates), and with it the best λ: it grows with the learning rate and falls with the batch size.

``ridge``: least squares on n examples, trained until nothing moves. The best λ is that of ridge regression, whatever
the learning rate: the variance of the noise over n times the variance of the weights (Hoerl and Kennard 1970).
"""

import torch
from torch import nn

from interplay.optim.sgd import SGD

H, W0, S2 = 1.0, 0.25, 4.0
COUNT = 2000  # weights, each a problem of its own: their mean risk has 2 % of the noise of one


def quadratic(lr, weight_decay, momentum=0.9, batch_size=128, steps=600, seed=0):
    draws = torch.Generator().manual_seed(seed)
    w = nn.Parameter(torch.full((COUNT,), W0))
    optimizer = SGD([w], lr, momentum, 0.0, weight_decay)
    risks = []
    for step in range(steps):
        noise = (S2 / batch_size) ** 0.5 * torch.randn(COUNT, generator=draws)
        loss = (0.5 * H * (w - W0) ** 2 + noise * w).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step >= steps // 2:  # at rest
            risks.append(0.5 * H * ((w.detach() - W0) ** 2).mean())
    return {"final_test_loss": torch.stack(risks).mean().item()}


REPEATS, EXAMPLES, WEIGHTS, NOISE, PRIOR = 60, 50, 20, 1.0, 1.0


def ridge(lr, weight_decay, momentum=0.9, steps=1500, seed=0):
    draws = torch.Generator().manual_seed(seed)
    x = torch.randn(REPEATS, EXAMPLES, WEIGHTS, generator=draws)
    truth = PRIOR**0.5 * torch.randn(REPEATS, WEIGHTS, 1, generator=draws)
    y = x @ truth + NOISE**0.5 * torch.randn(REPEATS, EXAMPLES, 1, generator=draws)
    w = nn.Parameter(torch.zeros(REPEATS, WEIGHTS, 1))
    optimizer = SGD([w], lr, momentum, 0.0, weight_decay)
    for _ in range(steps):
        loss = ((x @ w - y) ** 2).mean(1).sum() / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"final_test_loss": 0.5 * ((w.detach() - truth) ** 2).sum(1).mean().item()}
