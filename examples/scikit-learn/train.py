"""scikit-learn's MLPClassifier on its digits with wrong labels, as a program: a JSON object an epoch."""

import argparse
import json
import warnings

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier


def parse_args():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--learning_rate_init", type=float, default=0.02)
    p.add_argument(
        "--alpha", type=float, default=0.4, help="L2 penalty of a batch; a step divides it by the batch size"
    )
    p.add_argument("--batch_size", type=int, default=50)
    p.add_argument("--epochs", type=int, default=60)
    p.add_argument("--seed", type=int, default=0)
    return p.parse_args()


def make_data(wrong=0.4):
    """1,000 images whose labels are wrong in 40 % of cases, and 797 others whose labels are right."""
    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x / 16, y, train_size=1000, random_state=0)
    rng = np.random.default_rng(0)
    moved = rng.random(len(y_train)) < wrong
    return x_train, np.where(moved, (y_train + rng.integers(1, 10, len(y_train))) % 10, y_train), x_test, y_test


def main():
    args = parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    x_train, y_train, x_test, y_test = make_data()
    model = MLPClassifier(
        (128,),
        solver="sgd",
        alpha=args.alpha,
        learning_rate_init=args.learning_rate_init,
        batch_size=args.batch_size,
        random_state=args.seed,
    )
    for epoch in range(1, args.epochs + 1):
        model.partial_fit(x_train, y_train, classes=np.arange(10))
        p = model.predict_proba(x_test)
        found = {
            "train_loss": model.loss_,
            "test_loss": log_loss(y_test, p),
            "test_acc": np.mean(p.argmax(1) == y_test),
        }
        print(json.dumps({"epoch": epoch, **found}))


if __name__ == "__main__":
    main()
