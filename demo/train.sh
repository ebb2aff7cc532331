#!/usr/bin/env bash
# Trains the demonstration model from nothing, in the folder it is started in. What is there already
# is gone on with: a run that was stopped resumes.
set -euo pipefail
recipe=$(cd "$(dirname "$0")" && pwd)
cargo build --release --manifest-path "$recipe/../Cargo.toml" -p plm-cli -p plm-world
bin=$recipe/../target/release

# Large buffers are kept, not given back to the system at every step; a fifth less time.
export MALLOC_TRIM_THRESHOLD_=10000000000 MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TOP_PAD_=200000000

make() {
    [ -e "data/$2" ] || "$bin/plm-world" "$1" "data/$2" "${@:3}"
}
places=position,place,relation,neighbour
numbers=presence,count,comparison,neighbour
mkdir -p data
make checkpoint model
make tiles tiles-grey --count 60000 --grey --seed 1
make tiles tiles --count 100000 --seed 2
make captions captions --count 60000 --seed 3
make questions questions --count 140000 --turns 8 --captions 0 --seed 4
make lists lists --count 60000 --seed 6
make lists places --of position,place,caption --count 50000 --seed 7
make questions single --count 160000 --turns 1 --captions 0 --seed 8
make questions single-places --of $places --count 120000 --turns 1 --captions 0 --clips 0.04 --seed 70
make lists quarters --of caption --count 40000 --seed 83
make lists where --of position,place --count 40000 --seed 82
make lists beside --of relation,neighbour --count 40000 --seed 81
make questions talk-places --of $places --count 60000 --turns 6 --captions 0 --clips 0 --seed 91
make questions talk-numbers --of $numbers --count 40000 --turns 6 --captions 0 --clips 0 --seed 101
make questions talk-beside --of $numbers,relation --count 60000 --turns 6 --captions 0 --clips 0 --seed 111
make questions talk-long --of $numbers,relation --count 60000 --turns 12 --captions 0 --clips 0 --seed 112
make questions talk-counts --of presence,count --count 40000 --turns 12 --captions 0 --clips 0 --seed 113
make lists how-many --of count --count 20000 --seed 121
make evaluation evaluation --count 2002 --seed 5

stages=$(cd "$recipe" && printf '%s\n' [0-9]*.toml | sort -V)
for config in $stages; do
    stage=${config%.toml}
    [ -e "runs/$stage/final" ] && continue
    cp "$recipe/$config" .
    "$bin/plm" train "$stage.toml" --resume
done
curves=$(printf 'runs/%s/metrics.jsonl\n' ${stages//.toml/})
"$bin/plm" plot $curves --out loss.png
"$bin/plm" eval data/evaluation/rows.jsonl --model runs/17-decay/final --max-new-tokens 200
