"""A function of somebody's own: scikit-learn's MLP on its digits, an epoch at a time."""

import warnings

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier


def train(alpha, learning_rate_init, batch_size=64, epochs=4, seed=0):
    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x / 16, y, test_size=0.4, random_state=0)
    model = MLPClassifier(
        (32,),
        solver="sgd",
        alpha=alpha,
        learning_rate_init=learning_rate_init,
        batch_size=batch_size,
        random_state=seed,
    )
    for _ in range(epochs):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.partial_fit(x_train, y_train, classes=np.arange(10))
        yield {"train_loss": model.loss_, "test_acc": 100 * model.score(x_test, y_test)}
