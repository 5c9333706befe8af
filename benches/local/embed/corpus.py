"""Texts of mixed length from the evaluation corpora: abstracts, paragraphs, questions. One JSON text a line; all four languages
unless some are named after the folder."""
import gzip, json, random, sys
root, wanted = sys.argv[1], sys.argv[2:]
rng = random.Random(5)
texts = []
with gzip.open(f"{root}/retrieval/cranfield.corpus.jsonl.gz", "rt") as f:
    abstracts = [t for t in (json.loads(l)["text"] for l in f) if t]
texts += rng.sample(abstracts, 200)
with open(f"{root}/retrieval/cranfield.queries.jsonl") as f:
    texts += rng.sample([json.loads(l)["text"] for l in f], 100)
for lang, passages, questions in (("en", 150, 150), ("de", 60, 60), ("zh", 20, 20), ("ar", 20, 20)):
    if wanted and lang not in wanted:
        continue
    with gzip.open(f"{root}/retrieval/xquad.{lang}.jsonl.gz", "rt") as f:
        rows = [json.loads(l) for l in f]
    texts += rng.sample([r["text"] for r in rows if r["type"] == "passage"], passages)
    texts += rng.sample([r["question"] for r in rows if r["type"] != "passage"], questions)
rng.shuffle(texts)
for t in texts:
    print(json.dumps(t))
