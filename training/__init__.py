"""Who learns from the shards: efficient vision-language models, one paper per small file."""
