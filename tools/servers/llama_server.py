#!/usr/bin/env python3
"""llama.cpp's own HTTP server on loopback, for tests: the OpenAI API over a GGUF file, with its chat template.

usage: llama_server.py MODEL.gguf [--port N] [--ctx TOKENS] [--slots N] [--threads N] [--until-eof]
Needs the package xllamacpp. With port 0 (the default) the system picks one. Prints one line, "ready URL", once it
answers; stops at SIGTERM, SIGINT, or when standard input is closed with --until-eof.
"""
import argparse
import os
import signal
import socket
import sys
import threading
import time
import urllib.request

import xllamacpp


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ctx", type=int, default=4096, help="tokens of context, shared by the slots")
    parser.add_argument("--slots", type=int, default=2, help="calls served at once")
    # More threads than idle cores make each step wait for the slowest: one is steady on a busy machine.
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--until-eof", action="store_true", help="stop when standard input is closed")
    args = parser.parse_args()
    if not os.path.isfile(args.model):
        sys.exit(f"no such model file: {args.model}")
    port = args.port or free_port()

    params = xllamacpp.CommonParams()
    params.model.path = args.model
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_ctx = args.ctx
    params.n_parallel = args.slots
    params.warmup = False
    params.cpuparams.n_threads = args.threads
    params.cpuparams_batch.n_threads = args.threads
    params.use_jinja = True
    server = xllamacpp.Server(params)

    url = f"http://127.0.0.1:{port}"
    end = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(url + "/health", timeout=2).read()
            break
        except OSError:
            if time.monotonic() > end:
                sys.exit("the server did not become ready")
            time.sleep(0.05)
    print(f"ready {url}/v1", flush=True)

    stop = threading.Event()
    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, lambda *_: stop.set())
    if args.until_eof:
        threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    stop.wait()
    del server
    os._exit(0)


main()
