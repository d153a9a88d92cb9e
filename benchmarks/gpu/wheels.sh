#!/usr/bin/env bash
# Fill .wheels/<Python>/ with what a GPU host without a network lacks. GPU_PYTHON=3.11 for another Python than 3.12.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=${GPU_PYTHON:-3.12}
folder=.wheels/$version
limit=$((45 * 1024 * 1024))
platforms=()
for minor in $(seq 5 28); do platforms+=(--platform "manylinux_2_${minor}_x86_64"); done
platforms+=(--platform manylinux2014_x86_64 --platform manylinux2010_x86_64 --platform manylinux1_x86_64)

rm -rf "$folder"
for list in base clap; do
  python -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --implementation cp \
    --python-version "$version" "${platforms[@]}" --constraint constraints.txt \
    --requirement "benchmarks/gpu/requirements/$list.txt" --dest "$folder/$list"
done
# These two are published as source only, and are pure Python.
python -m pip wheel --quiet --disable-pip-version-check --no-deps --constraint constraints.txt \
  --wheel-dir "$folder/clap" wget progressbar

size=$(du --bytes --summarize "$folder" | cut -f1)
echo "$folder: $(find "$folder" -name '*.whl' | wc -l) wheels, $((size / 1048576)) MiB"
if ((size > limit)); then
  echo "error: $folder is larger than $((limit / 1048576)) MiB, which is what may travel." >&2
  echo "hint: see which wheel grew with \`du -a $folder | sort -n\`, and remove it from benchmarks/gpu/requirements/*.txt." >&2
  exit 1
fi
