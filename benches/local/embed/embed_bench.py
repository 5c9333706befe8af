"""CPU time of BertEmbedder beside sentence-transformers on torch, one thread each, same texts. Both sides of a pair run at the
same time on one core: the system gives it to them in turn, so that what neighbours do to the machine's speed is done to both.

    python corpus.py EVALS [LANGUAGE...] > corpus.jsonl
    cargo build --release -p katena-embeddings --features bert --example embed_corpus
    python embed_bench.py EMBED_CORPUS MODEL.gguf MODEL_FOLDER corpus.jsonl [PAIRS] [EVERY]

Needs sentence-transformers (measured with 6.2 on torch 2.15). EVERY takes each n-th text only. The model is loaded before the
first run; each side has one run before those that count. Prints each pair's ratio of texts per CPU-second (ours / theirs), then the
geometric mean with its 95 % interval, and the least cosine between both sides' vectors. Ends with 1 if the interval's lower end
is below 1. A corpus of several languages favours us: sentence-transformers sorts by characters, so its batches mix short and long ones.
"""
import json, math, os, resource, subprocess, sys, tempfile

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
import numpy as np
import torch
from sentence_transformers import SentenceTransformer

# Student's t, 97.5 %, for 1, 2, … degrees of freedom; the last one is on the safe side for more.
T = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093]

binary, gguf, folder, corpus = sys.argv[1:5]
pairs = max(2, int(sys.argv[5])) if len(sys.argv) > 5 else 10
every = int(sys.argv[6]) if len(sys.argv) > 6 else 1
torch.set_num_threads(1)
torch.set_num_interop_threads(1)
lines = open(corpus).readlines()[::every]
texts = [json.loads(line) for line in lines]
temp = tempfile.mkdtemp()
part, vectors = os.path.join(temp, "part.jsonl"), os.path.join(temp, "vectors.f32")
open(part, "w").writelines(lines)

os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
model = SentenceTransformer(folder, device="cpu")
child = subprocess.Popen([binary, gguf, part, "1", vectors], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
assert child.stdout.readline().strip() == "ready"


def theirs():
    def cpu():
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    before = cpu()
    # Its defaults: batches of 32, sorted by length.
    found = model.encode(texts, batch_size=32, show_progress_bar=False, normalize_embeddings=True)
    return cpu() - before, found


def child_cpu():
    fields = open(f"/proc/{child.pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def both():
    before = child_cpu()
    child.stdin.write("\n")
    child.stdin.flush()
    spent, found = theirs()
    said = child.stdout.readline().strip()
    return spent, found, child_cpu() - before, said


_, a, _, said = both()
print(said, flush=True)
b = np.fromfile(vectors, "<f4").reshape(a.shape)
print(f"least cosine {np.min(np.sum(a.astype('f8') * b, axis=1)):.7f}", flush=True)
logs = []
for n in range(pairs):
    x, _, y, _ = both()
    logs.append(math.log(x / y))
    print(f"pair {n + 1}: sentence-transformers {x:.2f} s, ours {y:.2f} s, ratio {x / y:.3f}", flush=True)
child.stdin.close()
child.wait()
mean, spread = np.mean(logs), np.std(logs, ddof=1)
half = T[min(pairs - 1, len(T)) - 1] * spread / math.sqrt(pairs)
low, high = math.exp(mean - half), math.exp(mean + half)
print(f"ratio {math.exp(mean):.3f}, 95 % interval {low:.3f} to {high:.3f}, {pairs} pairs, {len(texts)} texts")
sys.exit(low < 1.0)
