"""Text as data: tokenizers, corpora, rows of tokens with their labels."""
