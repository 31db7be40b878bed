#!/usr/bin/env bash
# Runs are read, nothing is trained.
# results/read.sh NAME RUNS: verdicts and figures of results/NAME from the runs in RUNS, and their page, RUNS/report.html.
# results/read.sh: the same for every folder, from the runs that are kept here.
# results/read.sh --pages FOLDER: only the page of each, FOLDER/NAME.html.
# The public tables are read where fetch.sh has put them, or in the folder that TABLES names.
set -euo pipefail
here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
tables=${TABLES:-$here/resnet18-cifar100-public/tables}
pages=

metric_of() { case $1 in *-memorised* | cifar10-noisy | cifar10-adamw) echo final_test_loss ;; *) echo final_test_acc ;; esac; }

# A table of runs does not tell what its study claims.
claims_of() { if [ -f "$here/../studies/$1.toml" ]; then printf '%s\n' --claims "$here/../studies/$1.toml"; fi; }

# page NAME DEFAULT RUNS ...: the page goes to DEFAULT, or where all pages go.
page() {
  local claims
  mapfile -t claims < <(claims_of "${1%-sgd*}")
  interplay report "${@:3}" --metric "$(metric_of "$1")" "${claims[@]}" --output "$([ -n "$pages" ] && echo "$pages/$1.html" || echo "$2")"
}

# verdicts NAME SUFFIX RUNS ...
verdicts() {
  local there=$here/$1/verdicts$2 metric claims
  metric=$(metric_of "$1")
  mapfile -t claims < <(claims_of "$1")
  interplay analyze "${@:3}" --metric "$metric" "${claims[@]}" --json > "$there.json"
  interplay analyze "${@:3}" --metric "$metric" "${claims[@]}" > "$there.txt"
  if [ "$metric" = final_test_loss ]; then interplay analyze "${@:3}" "${claims[@]}" > "$there-accuracy.txt"; fi
}

# Two networks, a folder of runs each.
read_pair() {
  local model page_of
  for model in hyper_resnet wide_resnet; do
    page_of=$1$([ "$model" = hyper_resnet ] || echo "-$model")
    page "$page_of" "$2/$model/report.html" "$2/$model"
    if [ -n "$pages" ]; then continue; fi
    verdicts "$1" "-$model" "$2/$model"
    cp "$2/$model/plots/exp2_eta_lambda_heatmap.png" "$here/$1/map-$model.png"
  done
  if [ "$1" = hyper-small ]; then
    page hyper-small-adam "$2/adam.html" "$2"/{hyper,wide}_resnet-adam
    if [ -z "$pages" ]; then cp "$2/hyper_resnet-adam/plots/error_vs_parameters.png" "$here/$1"; fi
  fi
}

# A table of each optimiser, whose figures go to outputs/ of the current folder.
read_forms() {
  local form kept=$here/$1/results.csv table
  for form in sgd sgdw sgds; do
    table=$2/$form/$form.csv
    mkdir -p "$2/$form"
    { head -1 "$kept" && grep ",$form," "$kept"; } > "$table"
    (cd "$2/$form" && page "$1-$form" "$2/$form/report.html" "$table")
    if [ -n "$pages" ]; then continue; fi
    verdicts "$1" "-$form" "$table"
    cp "$2/$form/outputs/plots/exp2_eta_lambda_heatmap.png" "$here/$1/map-$form.png"
  done
}

read_public() {
  local files=("$2"/resnet18_cifar100_{seed42,seed123,seed42_run2}.csv)
  if [ -z "$pages" ]; then
    verdicts "$1" "" "${files[@]}"
    interplay predict --lr 0.1 --input "${files[@]}" > "$here/$1/predictions.txt"
    # How far apart are measurements of the same cells by the same code? The two batches of seed 42 against that of seed 123.
    # The list of cells is left out: it would repeat the tables.
    interplay compare "${files[0]}" "${files[2]}" --with "${files[1]}" | sed '/^lr /,$d' > "$here/$1/comparison.txt"
  fi
  # Figures of tables go to outputs/ of the current folder.
  (cd "$(mktemp -d)" && page "$1" report.html "${files[@]}" && if [ -z "$pages" ]; then cp outputs/plots/*.png "$here/$1"; fi)
}

read_one() {
  case $1 in
    resnet18-cifar100-public) read_public "$1" "$2" ;;
    hyper-*) read_pair "$1" "$2" ;;
    digits-decay-forms) read_forms "$1" "$2" ;;
    *)
      local runs=$2
      # Of runs that are not kept there is the table, the figures of which go to outputs/ of the current folder.
      if [ ! -d "$2/runs" ]; then runs=$2/results/results.csv; fi
      (cd "$2" && page "$1" "$2/report.html" "$runs")
      if [ -n "$pages" ]; then return; fi
      verdicts "$1" "" "$runs"
      local plots=$2/plots
      if [ ! -d "$2/runs" ]; then plots=$2/outputs/plots; fi
      case $1 in
        digits-pytorchcv) cp "$plots/exp2_eta_lambda_heatmap.png" "$here/$1" ;;
        digits-sklearn) cp "$plots"/exp{2_eta_lambda_heatmap,3_batch_size_scaling}.png "$here/$1" ;;
        digits-schedules | cifar10-adam) ;; # Their questions are none that a figure draws.
        *) cp "$plots"/*.png "$here/$1" ;;
      esac
      if [ "$1" = cifar100-memorised ]; then
        interplay predict --metric final_test_loss --lr 0.1 --batch_size 32 --epochs 40 --input "$2" > "$here/$1/predictions.txt"
      fi
      ;;
  esac
}

# The runs that are kept of NAME, in a folder: records where there are any, and tables.
unpack() {
  local table model
  if [ -f "$here/$1/records.tar.xz" ]; then tar -xJf "$here/$1/records.tar.xz" -C "$2"; fi
  for table in "$here/$1"/results*.csv; do
    model=$(basename "$table" .csv) && model=${model#results} && model=${model#-}
    mkdir -p "$2/$model/results"
    cp "$table" "$2/$model/results/results.csv"
  done
}

if [ $# -eq 2 ] && [ "$1" != --pages ]; then
  read_one "$1" "$(CDPATH='' cd -- "$2" && pwd)"
  exit
fi
if [ $# -eq 2 ]; then mkdir -p "$2" && pages=$(CDPATH='' cd -- "$2" && pwd); fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for folder in "$here"/*/results*.csv; do
  name=$(basename "$(dirname "$folder")")
  if [ -d "$work/$name" ]; then continue; fi
  mkdir "$work/$name"
  unpack "$name" "$work/$name"
  read_one "$name" "$work/$name"
done
if [ -d "$tables" ]; then
  read_one resnet18-cifar100-public "$(CDPATH='' cd -- "$tables" && pwd)"
else
  echo "resnet18-cifar100-public is left out: fetch.sh there fetches its tables" >&2
fi
