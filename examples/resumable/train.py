"""A training script of somebody's own: it knows nothing of this lab."""

import argparse
import json
import os
import time

import numpy as np


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--wd", type=float, default=0.0)
    parser.add_argument("--bs", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default=".")
    parser.add_argument("--slow", type=float, default=0.0, help="seconds to sleep an epoch")
    args = parser.parse_args()

    # Two Gaussian classes in ten dimensions, some labels wrong.
    data = np.random.default_rng(1234)
    x = data.normal(size=(600, 10))
    y = (x @ data.normal(size=10) + 0.5 * data.normal(size=600) > 0).astype(float)
    x, y, xt, yt = x[:400], y[:400], x[400:], y[400:]

    w = 0.01 * np.random.default_rng(args.seed).normal(size=10)
    first = 1
    checkpoint = os.path.join(args.out, "checkpoint.npz")
    if os.path.exists(checkpoint):
        saved = np.load(checkpoint)
        w, first = saved["w"], int(saved["epoch"]) + 1
        print(f"resumed after epoch {first - 1}")

    for epoch in range(first, args.epochs + 1):
        order = np.random.default_rng([args.seed, epoch]).permutation(len(x))
        losses = []
        for start in range(0, len(x), args.bs):
            xb, yb = x[order[start : start + args.bs]], y[order[start : start + args.bs]]
            p = 1 / (1 + np.exp(-np.clip(xb @ w, -30, 30)))
            losses.append(float(-np.mean(yb * np.log(p + 1e-12) + (1 - yb) * np.log(1 - p + 1e-12))))
            w -= args.lr * (xb.T @ (p - yb) / len(xb) + args.wd * w)
        acc = float(100 * np.mean((xt @ w > 0) == (yt > 0.5)))
        print(f"epoch {epoch:3d}  loss {np.mean(losses):.4f}  acc {acc:.2f}")
        with open(os.path.join(args.out, "metrics.jsonl"), "a") as f:
            f.write(json.dumps({"epoch": epoch, "train_loss": float(np.mean(losses)), "val_acc": acc}) + "\n")
        partial = os.path.join(args.out, "partial.npz")
        np.savez(partial, w=w, epoch=epoch)
        os.replace(partial, checkpoint)
        time.sleep(args.slow)


if __name__ == "__main__":
    main()
