#!/usr/bin/env bash
# Fetch the three tables into tables/ beside this script, which git ignores, and check them against SHA256SUMS.
set -euo pipefail
here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
repository=https://github.com/fabfish/wd
commit=1597835
command -v sha256sum >/dev/null || sha256sum() { shasum -a 256 "$@"; }
mkdir -p "$here/tables"
cd "$here/tables"
if ! sha256sum --check --quiet ../SHA256SUMS 2>/dev/null; then
    clone=$(mktemp -d)
    trap 'rm -rf "$clone"' EXIT
    git clone --quiet --filter=blob:none --no-checkout "$repository" "$clone"
    git -C "$clone" show "$commit:outputs/results/results.csv" > resnet18_cifar100_seed42.csv
    git -C "$clone" show "$commit:rebuttal/results/results_resnet18_seed123.csv" > resnet18_cifar100_seed123.csv
    git -C "$clone" show "$commit:rebuttal/results/results_resnet18_seed42_run2.csv" > resnet18_cifar100_seed42_run2.csv
    sha256sum --check --quiet ../SHA256SUMS
fi
