#!/usr/bin/env bash
# Everything in this folder: results/hyper-small/reproduce.sh [OUTPUT_DIR [DATA_DIR [ARGUMENTS OF interplay study ...]]].
# The runs kept in records.tar.xz are of altered CIFAR-10 files (README.md). They are unpacked, and not run again, only when
# --allow_modified_data is among the arguments: give it with those files alone. From the published files everything is made anew,
# in an empty OUTPUT_DIR, which takes two hours on two cores.
# The pages are OUTPUT_DIR/hyper_resnet/report.html and OUTPUT_DIR/wide_resnet/report.html.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-outputs/hyper-small}
data=${2:-data}
mkdir -p "$out"
if [[ " ${*:3} " == *" --allow_modified_data "* && -f "$here/records.tar.xz" ]]; then
  tar -xJf "$here/records.tar.xz" -C "$out" --skip-old-files
fi
for model in hyper_resnet wide_resnet; do
  interplay study "$here/../../studies/hyper-small.toml" --model "$model" --test_every 8 --data_dir "$data" --output_dir "$out/$model" \
    "${@:3}"
  cp "$out/$model/results/results.csv" "$here/results-$model.csv"
done
# Error against stored parameters: pairs of one and of six blocks a stage by the hypernetwork's own recipe, Adam, which trains both.
for seed in 42 43; do
  for blocks in 6 1; do
    for lr in 0.001 0.004; do
      for model in hyper_resnet wide_resnet; do
        interplay run --dataset cifar10 --model "$model" --blocks_per_stage "$blocks" --train_limit 2000 --augment none --epochs 16 \
          --batch_size 64 --optimizer adam --lr "$lr" --weight_decay 5e-4 --seed "$seed" --test_every 8 --threads 1 \
          --data_dir "$data" --output_dir "$out/$model-adam" "${@:3}" &
      done
      wait -n; wait -n  # either one that fails ends the script
    done
  done
done
for model in hyper_resnet wide_resnet; do cp "$out/$model-adam/results/results.csv" "$here/results-$model-adam.csv"; done
tar -cJf "$here/records.tar.xz" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$out" \
  --exclude='.*' --exclude='*.lock' --exclude='*.pt' --exclude=results --exclude=plots --exclude='*.html' \
  hyper_resnet wide_resnet hyper_resnet-adam wide_resnet-adam
"$here/../read.sh" hyper-small "$out"
