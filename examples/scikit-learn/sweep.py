"""The best learning rate of scikit-learn's MLP at each weight decay (alpha)."""

from digits_mlp import train

from interplay import Study, analyze, report, run_study

study = Study(
    train=train,
    grid={"learning_rate_init": [0.001, 0.003, 0.01, 0.03, 0.1], "alpha": [0.001, 0.1]},
    seeds=[1, 2],
)

if __name__ == "__main__":
    result = run_study(study)
    print(analyze(result))
    report("outputs")
