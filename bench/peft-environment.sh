# Sourced by the scripts beside it: `python` has PyTorch, diffusers and PEFT, in an environment made on first use, or is
# the one that `PYTHON` names. Needs Python 3.10 or newer and a network.
python=${PYTHON:-}
if [ -z "$python" ]; then
  python=target/peft/bin/python
  if [ ! -x "$python" ]; then
    python3 -m venv target/peft
    "$python" -m pip install --quiet torch diffusers==0.42.1 peft==0.21.2 transformers==5.23.0 safetensors
  fi
fi
