"""Does the lab say what theory says? Two trained problems with known answers, each to its verdicts."""

from problems import quadratic, ridge

from interplay import Study, analyze, run_study

DECAYS = [0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28]

noisy_quadratic = Study(
    name="noisy quadratic",
    train=quadratic,
    base={"momentum": 0.9, "batch_size": 128, "steps": 600},
    grid=[
        {"lr": [0.02, 0.04, 0.08, 0.16, 0.32], "weight_decay": DECAYS},
        {"batch_size": [64, 128, 256, 512], "weight_decay": DECAYS, "derived": {"lr": "0.08 * batch_size / 128"}},
        {"lr": 0.16, "batch_size": [64, 128, 256, 512], "weight_decay": DECAYS},
    ],
    claims=["inverse.profile", "batch.linear_rule", "batch.fixed_lr"],
    seeds=[1, 2, 3],
)

ridge_regression = Study(
    name="ridge regression",
    train=ridge,
    base={"momentum": 0.9, "steps": 1500},
    grid={"lr": [0.02, 0.08, 0.32], "weight_decay": [0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16]},
    claims=["inverse.profile"],
    seeds=[1, 2, 3],
)

if __name__ == "__main__":
    for study in (noisy_quadratic, ridge_regression):
        result = run_study(study, output_dir=f"outputs/{study.name.replace(' ', '-')}")
        print(analyze(result, metric="final_test_loss"))
