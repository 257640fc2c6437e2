"""A tiny causal language model with random weights, and a tokenizer of bytes, in a local folder."""

from __future__ import annotations

from pathlib import Path


def write_tiny_language_model(
    folder: Path, *, pad: bool = True, kind: str = "gpt2", positions: int = 64, seed: int = 0
) -> Path:
    """A GPT-2 or Llama of two layers, as `save_pretrained` writes it; gives the folder."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {sign: number for number, sign in enumerate([*alphabet, "<end>", "<pad>"])}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    names = {"eos_token": "<end>", **({"pad_token": "<pad>"} if pad else {})}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, **names)
    size = len(vocabulary)
    if kind == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=size, n_positions=positions, n_embd=32, n_layer=2, n_head=2
        )
    else:
        config = transformers.LlamaConfig(
            vocab_size=size,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=positions,
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
