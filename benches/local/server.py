"""llama.cpp's server as the package xllamacpp brings it: server.py MODEL SLOTS CONTEXT. Ends when it's killed."""

import sys
import threading

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.hostnames = ["127.0.0.1"]
params.port = 0
params.n_parallel = int(sys.argv[2])
params.n_ctx = int(sys.argv[3])
params.kv_unified = True
params.cpuparams.n_threads = 1
params.cpuparams_batch.n_threads = 1
params.n_batch = params.n_ubatch = 512
params.use_jinja = True
server = xllamacpp.Server(params)
print("listening", server.listening_address, flush=True)
threading.Event().wait()
