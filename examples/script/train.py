import argparse

import numpy as np


def parse_args():
    p = argparse.ArgumentParser(description="Logistic regression on two noisy classes")
    p.add_argument("--lr", type=float, default=0.1)
    p.add_argument("--wd", type=float, default=0.0)
    p.add_argument("--bs", type=int, default=32)
    p.add_argument("--epochs", type=int, default=8)
    p.add_argument("--seed", type=int, default=0)
    return p.parse_args()


def make_data():
    rng = np.random.default_rng(1234)
    x = rng.normal(size=(1200, 40))
    w = rng.normal(size=40) * (rng.random(40) < 0.3)
    y = x @ w + 2.0 * rng.normal(size=1200) > 0
    return x[:120], y[:120], x[120:], y[120:]


def main():
    args = parse_args()
    print(args)
    rng = np.random.default_rng(args.seed)
    x, y, xt, yt = make_data()
    w = 0.01 * rng.normal(size=x.shape[1])
    for epoch in range(args.epochs):
        loss = 0.0
        order = rng.permutation(len(x))
        for i in range(0, len(x), args.bs):
            idx = order[i : i + args.bs]
            p = 1 / (1 + np.exp(-np.clip(x[idx] @ w, -30, 30)))
            loss += -np.sum(np.log(np.where(y[idx], p, 1 - p) + 1e-12))
            w -= args.lr * (x[idx].T @ (p - y[idx]) / len(idx) + args.wd * w)
        acc = np.mean((xt @ w > 0) == yt)
        print(f"[epoch {epoch + 1}/{args.epochs}] loss: {loss / len(x):.4f}, test acc: {100 * acc:.2f}%")
    print("done.")


if __name__ == "__main__":
    main()
