"""Commented YAML files to begin one's own protocol or label set with."""

from __future__ import annotations

from pathlib import Path

from vclip_cli.common.errors import UsageError
from vclip_cli.common.files import plain_name, write_text
from vclip_cli.common.resources import project_folder

_PROTOCOL = """\
# A protocol: what is trained on, what is tested on, and how.
# Use it:  vclip run --protocol NAME --dataset DATASET --method x-clip
name: NAME
version: 1  # raise it with every change; a table keeps versions apart
title: What `vclip protocols` shows
source: Who published it, or why you made it
kind: single-label  # or multi-label: the datasets that it is for

# The training lists. Of these, a dataset takes the ones with its name, else those with "*".
train:
  - dataset: "*"
    split: [train, train-1]  # the first that the dataset has; train-1+test-1 is a union
    draw: few-shot  # K videos a class; official: the whole split
    # classes: base  # only these classes: a subset of the label set

# The test lists.
test:
  - dataset: "*"
    split: [test, test-1, validation]
    # part: base           # its name, where a split has several lists
    # halves: subsets      # for the parts base and novel; or training-counts, with counted_in
    # optional: true       # tested only when asked for with --splits

shots: [2, 4, 8, 16]  # K; only where a training list is drawn
seeds: [1, 2, 3]  # of draws and trainings; the first is the default

frames: 8  # frames of a clip
# frames_of: {ssv2: 16}    # where a dataset's own differs
views: {clips: 1, crops: 1}  # temporal and spatial views, at test
# text: {variant: natural, templates: ["a video of a person {class}."]}

metrics: [top1, top5, mean_class_accuracy]  # computed and shown, in this order
aggregate: {over: [seeds]}  # what a table joins: seeds, splits, parts; harmonic_mean: true

# How methods are trained. Without a recipe a method has its default one.
# recipes:
#   mine:
#     method: vifi-clip
#     source: where these values come from
#     frames: 8
#     batch_size: 64
#     optimizer: {name: adamw, learning_rate: 2.0e-6, weight_decay: 0.001}
#     schedule: {name: cosine, epochs: 50, warmup_epochs: 5, final_fraction: 0.01}
#     augmentation: {crop: multi-scale, scales: [1.0, 0.875, 0.75, 0.66], flip: 0.5}
"""
_LABEL_SET = """\
# A label set: the classes of a dataset in order, and the texts that prompts are made of.
# Use it:  vclip data add DATASET --videos DIR --labels NAME
name: NAME
title: What `vclip labels list` shows
version: 1  # raise it with every change
source: Where the classes come from

# A name alone, or a class with texts and with other spellings that lists may use.
classes:
  - push up
  - name: PourWater
    texts:
      natural: pouring water  # without it: the name with blanks for underscores
      # described: water runs from a jug into a glass  # chosen with --text described
    aliases: [pour_water]

# Named lists of classes, for `classes:` in a protocol and for --subset.
subsets:
  base: [push up]
  novel: [PourWater]
"""


def new_protocol(name: str, path: Path | None = None) -> Path:
    """Write a commented protocol that loads as it is. Returns its path.

    path: where to; the project's `.vclip/protocols/NAME.yaml` when None. Raises UsageError for a
    name that cannot name a file, and for a file that exists.
    """
    return _write(name, path, "protocols", _PROTOCOL)


def new_label_set(name: str, path: Path | None = None) -> Path:
    """As `new_protocol`, for a label set in `.vclip/label_sets/NAME.yaml`."""
    return _write(name, path, "label_sets", _LABEL_SET)


def _write(name: str, path: Path | None, kind: str, text: str) -> Path:
    import yaml

    try:
        plain_name(name)
    except ValueError as error:
        raise UsageError(f"not a name: {error}", found=repr(name)[:120]) from None
    if path is None:
        path = project_folder() / kind / f"{name}.yaml"
    if path.suffix not in (".yaml", ".yml"):
        raise UsageError("the file must end in .yaml", where=str(path))
    if path.exists():
        raise UsageError("the file exists", where=str(path), hint="choose another name, or --out")
    quoted = yaml.safe_dump(name, allow_unicode=True).removesuffix("\n...\n").strip()
    write_text(path, text.replace("name: NAME", f"name: {quoted}").replace("NAME", name))
    return path
