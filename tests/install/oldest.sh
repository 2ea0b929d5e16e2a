#!/usr/bin/env bash
# Runs the tests with the oldest versions that pyproject.toml allows, in an environment of their own.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python3}
ENVIRONMENT=.venv-oldest
BOUNDS=$(mktemp)
trap 'rm -f "$BOUNDS"' EXIT

"$PYTHON" - > "$BOUNDS" <<'PYTHON'
import re
text = open("pyproject.toml").read()
listed = re.search(r"^dependencies = \[\n(.*?)^\]", text, flags=re.DOTALL | re.MULTILINE).group(1)
for name, bound in re.findall(r'^    "([\w-]+)(?:\[\w+\])?>=([\d.]+)', listed, flags=re.MULTILINE):
    # torch is the one of constraints.txt: of its older versions there may be no CPU build at hand.
    if name != "torch":
        print(f"{name}=={bound}")
PYTHON
grep '^torch==' constraints.txt >> "$BOUNDS"
echo "Oldest versions allowed (torch excepted: the one of constraints.txt):"
cat "$BOUNDS"

"$PYTHON" -m venv "$ENVIRONMENT"
"$ENVIRONMENT/bin/python" -m pip --disable-pip-version-check install --quiet --constraint "$BOUNDS" --editable ".[dev]"
"$ENVIRONMENT/bin/python" -m pytest -n 2 --doctest-modules sb3_ppo_scratch tests
