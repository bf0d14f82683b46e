"""Ids of lines by the libraries that define the formats: `sentencepiece` for .model, `tokenizers` for .json.

Usage: tokenizer_ids.py FILE... < lines.json > ids.json
lines.json is an array of texts; ids.json has for each file an array of arrays of ids, in order.
"""

import json
import sys


def encoder_of(path):
    if path.endswith(".model"):
        from sentencepiece import SentencePieceProcessor

        return SentencePieceProcessor(model_file=path).encode
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(path)
    # Text never becomes a control token.
    tokenizer.encode_special_tokens = True
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


lines = json.load(sys.stdin)
json.dump([[encode(line) for line in lines] for encode in map(encoder_of, sys.argv[1:])], sys.stdout)
