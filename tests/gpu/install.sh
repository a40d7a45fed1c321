#!/usr/bin/env bash
# Makes a virtual environment with the CUDA build of PyTorch and what Parley's tests need: install.sh FOLDER
set -euo pipefail
venv=$1 python=${PYTHON:-python3}
[ -e "$venv/.installed" ] && [ "$venv/.installed" -nt constraints.txt ] && [ "$venv/.installed" -nt pyproject.toml ] && exit 0
echo "Installing the CUDA build of PyTorch into $venv (some 5 GB) ..."
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
torch=$(grep '^torch==' constraints.txt)
# --isolated: without it a machine's settings may choose a CPU build.
"$venv/bin/pip" install --isolated -q --disable-pip-version-check "$torch"
# The headers that the runtime's own wheel leaves out.
"$venv/bin/pip" install --isolated -q --disable-pip-version-check "nvidia-cuda-crt==13.0.*"
"$venv/bin/python" -c 'import torch; assert torch.version.cuda' || { echo "install.sh: $torch is no CUDA build here" >&2; exit 1; }
"$venv/bin/pip" install -q --disable-pip-version-check -c constraints.txt -e '.[demo,dev]'
touch "$venv/.installed"
