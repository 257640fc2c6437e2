"""The library's functions, one for each verb: settings in, one call into a room, the result out.

`vclip_cli` offers them by the same names. Settings are keywords: the verb's options with `_` for
`-`, listed in `docs/settings.md`. Nothing heavy is imported before a function is called.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vclip_cli.common.errors import DataError, UsageError
from vclip_cli.common.long_work import Progress, progress_of
from vclip_cli.engine.requests import Request
from vclip_cli.engine.specs import ModelSpec

if TYPE_CHECKING:
    from vclip_cli.engine.encoding.label_embeddings import EmbeddedLabels
    from vclip_cli.engine.encoding.model import LoadedMethod
    from vclip_cli.engine.evaluation.evaluate import Result
    from vclip_cli.engine.stores.embed import EmbedOutcome
    from vclip_cli.engine.stores.extract import Extracted
    from vclip_cli.engine.stores.extract_plan import Estimate
    from vclip_cli.engine.sweep import Job
    from vclip_cli.engine.training.outcome import TrainingRun
    from vclip_cli.engine.verification.verify import Verified
    from vclip_cli.library.model import Model, Ranking

CHECKPOINT = ".safetensors"
logger = logging.getLogger("vclip")
Shown = Progress | bool | None
"""True for a bar, False for none, None for one in a terminal or a notebook."""


def load_model(
    method: str | Path | None = None, *, checkpoint: str | Path | None = None, **settings: Any
) -> Model:
    """A method with its weights, on its device, ready to classify and encode videos.

    method: a method's name, or a checkpoint's file; `clip` unless the checkpoint says otherwise.
    settings: those of `vclip predict`: backbone, pretrained, interpolate, frames, clips, crops,
    decoder, template, text, device, precision, workers, cache; `options` of the method besides.
    Raises UsageError for unknown names, WeightsError for weights that are missing or do not fit.
    """
    from vclip_cli.library.model import open_model

    options = settings.pop("options", {})
    if not isinstance(options, Mapping):
        raise UsageError("options of a method are a dict", found=repr(options))
    named = {"checkpoint": checkpoint} if checkpoint is not None else {}
    request = Request.of("predict", _naming(method, {**settings, **named}), "load_model")
    return open_model(request.change(model={"options": dict(options)}))


def predict(
    videos: str | Path | Sequence[str | Path],
    labels: str | Sequence[str] | None = None,
    *,
    top: int = 5,
    multi_label: bool | None = None,
    progress: Shown = None,
    **settings: Any,
) -> tuple[Model, Ranking]:
    """Rank labels for each video; one that cannot be read carries its error.

    labels: a list, or what `vclip predict --labels` takes; None for all labels of
    `label_embeddings`. settings: those of `vclip predict`.
    """
    from vclip_cli.data.label_set import label_set_of
    from vclip_cli.engine.encoding.label_embeddings import read_label_embeddings
    from vclip_cli.library.model import as_label_set

    stored = settings.get("label_embeddings")
    videos = [videos] if isinstance(videos, str | Path) else list(videos)
    if labels is not None:
        label_set = as_label_set(labels)
    elif stored is not None:
        label_set = label_set_of(read_label_embeddings(Path(stored)).labels, str(stored))
    else:
        raise UsageError("no label was given", hint='--labels "pour,push up,ride bike"')
    videos = [videos] if isinstance(videos, str | Path) else list(videos)
    for video in videos:
        if not Path(video).exists():
            raise DataError("no such video", where=str(video))
    model = load_model(**settings)
    shown = progress_of(progress)
    found = model.rank(videos, label_set, top=top, multi_label=multi_label, progress=shown)
    return model, found


def evaluate(
    model: LoadedMethod | str | Path | None = None,
    dataset: str | Sequence[str] | None = None,
    *,
    progress: Shown = None,
    **settings: Any,
) -> list[Result]:
    """Score a method on a protocol's test sets; write predictions and a record for each.

    model: what `load_model` returned, or what it takes: a method's name, or a checkpoint's file.
    settings: those of `vclip eval`; `protocol` is `zero-shot` unless said otherwise. Of the
    processes of one launch, rank 0 returns the results and the others an empty list.
    Raises DataError when no listed video can be scored, ComparisonRefused when the checkpoint was
    trained on test videos, and what `load_model` raises.
    """
    from vclip_cli.engine.evaluation.evaluate import evaluate_plan
    from vclip_cli.engine.evaluation.plan import plan_evaluation

    results: list[Result] = []
    for request, loaded in _evaluations(model, dataset, settings):
        results += evaluate_plan(plan_evaluation(request, loaded), progress=progress_of(progress))
    return results


def _evaluations(
    model: LoadedMethod | str | Path | None,
    dataset: str | Sequence[str] | None,
    settings: dict[str, Any],
) -> list[tuple[Request, LoadedMethod | None]]:
    """One request for each dataset, with the model where it is loaded already."""
    from vclip_cli.engine.encoding.model import LoadedMethod as Loaded

    loaded = model if isinstance(model, Loaded) else None
    if loaded is None:
        settings = _naming(model, settings)
    elif given := {part.name for part in fields(ModelSpec)} & set(settings):
        raise UsageError("the model is loaded already", found=", ".join(sorted(given)))
    names: list[str | None] = list(_names(dataset)) or [None]
    if settings.get("out") is not None and len(names) > 1:
        raise UsageError("--out takes the run of one dataset", found=f"{len(names)} datasets")
    requests = [Request.of("eval", {**settings, "dataset": name}) for name in names]
    return [(request, loaded) for request in requests]


def _naming(model: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with a method's name or a checkpoint's file added. Raises UsageError."""
    if model is None:
        return settings
    if not isinstance(model, str | Path):
        raise UsageError(
            "this is not a model",
            found=repr(model)[:80],
            expected="what load_model gives, a method's name, or a checkpoint's file",
        )
    name = "checkpoint" if isinstance(model, Path) or model.endswith(CHECKPOINT) else "method"
    if settings.get(name) not in (None, model):
        raise UsageError(
            f"two values for {name!r}", found=f"{str(model)!r} and {str(settings[name])!r}"
        )
    return {**settings, name: model}


def train(
    method: str | None = None,
    dataset: str | None = None,
    *,
    progress: Shown = None,
    **settings: Any,
) -> TrainingRun:
    """Train a method by its published recipe; write a checkpoint of what trained.

    settings: those of `vclip train`; `protocol` is needed. The result has `checkpoint` (a file) and
    `log` (step, loss and learning rate). Raises ComparisonRefused when training and test videos
    overlap, UsageError when the folder holds another run.
    """
    from vclip_cli.engine.training.train import train_request

    named = {"method": method, "dataset": dataset}
    request = Request.of("train", {**settings, **named})
    return train_request(request, progress=progress_of(progress))


def sweep(
    protocol: str | None = None,
    dataset: str | Sequence[str] | None = None,
    methods: str | Sequence[str] = (),
    *,
    progress: Shown = None,
    **settings: Any,
) -> list[tuple[Job, list[Result]]]:
    """Train and evaluate every method with every seed: what `vclip run` does.

    settings: those of `vclip run`. Finished jobs are skipped, interrupted ones resumed.
    """
    from vclip_cli.engine.sweep import plan_sweep, run_job, sweep_log

    request = Request.of("run", {**settings, "protocol": protocol, "methods": methods})
    jobs = plan_sweep(request, _names(dataset))
    results = []
    with sweep_log(request, len(jobs)) as log:
        for number, job in enumerate(jobs, start=1):
            logger.info("[%d/%d] %s", number, len(jobs), job)
            results.append((job, run_job(request, job, progress=progress_of(progress))))
            log.note("job", job=str(job), done=number)
    return results


def _names(dataset: str | Sequence[str] | None) -> list[str]:
    if dataset is not None and not isinstance(dataset, str | Sequence):
        raise UsageError("this is not the name of a dataset", found=repr(dataset)[:80])
    return [dataset] if isinstance(dataset, str) else list(dataset or ())


def embed(dataset: str, *, progress: Shown = None, **settings: Any) -> EmbedOutcome:
    """Store the embeddings of a dataset's videos, for every later run with the same video encoder.

    settings: those of `vclip embed`. Raises UsageError for a method that has nothing to store.
    """
    from vclip_cli.engine.stores.embed import embed_plan, plan_embedding

    plan = plan_embedding(Request.of("embed", {**settings, "dataset": dataset}))
    return embed_plan(plan, progress=progress_of(progress))


def embed_label_set(
    labels: str | Sequence[str], out: str | Path, *, progress: Shown = None, **settings: Any
) -> tuple[LoadedMethod, EmbeddedLabels]:
    """Write the embeddings of labels into a file, or add those that the file lacks.

    labels: a list, or what `vclip labels embed` takes; settings: those of that verb.
    """
    from vclip_cli.engine.encoding.label_embeddings import embed_label_texts
    from vclip_cli.library.model import as_label_set

    request = Request.of("labels embed", settings)
    return embed_label_texts(
        request, as_label_set(labels), Path(out), progress=progress_of(progress)
    )


def extract(dataset: str, *, progress: Shown = None, **settings: Any) -> Extracted | None:
    """Decode every video once and keep its frames; later runs read them with `frames_from="store"`.

    settings: those of `vclip extract`. None for a process that does one shard of the work.
    """
    from vclip_cli.engine.runs.shards import own_shard
    from vclip_cli.engine.stores.extract import extract_shard, merge_shards
    from vclip_cli.engine.stores.extract_plan import plan_extract

    request = Request.of("extract", {**settings, "dataset": dataset})
    plan = plan_extract(request)
    if request.run.merge:
        return merge_shards(plan, progress=progress_of(progress))
    return extract_shard(plan, own_shard(request.run.shard), progress=progress_of(progress))


def estimate(
    dataset: str, *, rate: float | None = None, progress: Shown = None, **settings: Any
) -> Estimate:
    """How much disk and time `extract` would need, from a sample; nothing is written.

    settings: those of `vclip extract`; rate: videos per second of one process, None to measure it.
    """
    from vclip_cli.engine.runs.shards import own_shard
    from vclip_cli.engine.stores.extract_plan import estimate as estimate_plan
    from vclip_cli.engine.stores.extract_plan import plan_extract

    request = Request.of("extract", {**settings, "dataset": dataset})
    shard = own_shard(request.run.shard)
    return estimate_plan(plan_extract(request), shard, rate, progress=progress_of(progress))


def verify(
    paths: str | Path | Sequence[str | Path] = "runs",
    *,
    rerun: bool = False,
    tolerance: float = 0.1,
    progress: Shown = None,
    **settings: Any,
) -> list[Verified]:
    """Check every hash in records against the files that they were made from.

    paths: records, or folders that hold them; rerun: evaluate again, and let metrics move by at
    most `tolerance` points; settings: those of `vclip verify`.
    """
    return list(verified(paths, rerun, tolerance, progress_of(progress), settings))


def verified(
    paths: str | Path | Sequence[str | Path],
    rerun: bool,
    tolerance: float,
    progress: Progress,
    settings: dict[str, Any],
) -> Iterator[Verified]:
    """What `verify` finds, record by record."""
    from vclip_cli.engine.verification.checks import Seen
    from vclip_cli.engine.verification.verify import verify_record
    from vclip_cli.results.collect import find_records

    asked = Request.of("verify", settings)
    checkpoint = asked.model.checkpoint
    if checkpoint is not None and not checkpoint.is_file():
        raise UsageError("no such checkpoint", where=str(checkpoint))
    listed = [paths] if isinstance(paths, str | Path) else list(paths)
    seen = Seen()
    for path in find_records([Path(entry) for entry in listed]):
        yield verify_record(path, asked, seen, again=rerun, tolerance=tolerance, progress=progress)


def dry_run(
    verb: str,
    dataset: str | Sequence[str] | None = None,
    *,
    rate: float | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """What a verb would do, as a JSON-able document: settings, lists, folders, work per process.

    verb: `eval`, `train`, `run` or `embed`; rate: videos per second of one process, for the time.
    """
    names = _names(dataset)
    if rate is not None and not rate > 0:
        raise UsageError("the rate is videos per second", found=repr(rate), expected="above 0")
    if verb in ("embed", "train") and len(names) > 1:
        raise UsageError(f"{verb} takes one dataset", found=", ".join(names))
    if verb == "eval":
        from vclip_cli.engine.evaluation.plan import plan_evaluation, planned_evaluation

        requests = _evaluations(None, names, settings)
        plans = [planned_evaluation(plan_evaluation(request), rate) for request, _ in requests]
        return {"plans": plans}
    if verb == "run":
        from vclip_cli.engine.sweep import plan_sweep

        return {"jobs": [asdict(job) for job in plan_sweep(Request.of("run", settings), names)]}
    named = {"dataset": names[0] if names else None}
    if verb == "embed":
        from vclip_cli.engine.stores.embed import plan_embedding, planned_embedding

        return planned_embedding(plan_embedding(Request.of("embed", {**settings, **named})), rate)
    if verb == "train":
        from vclip_cli.engine.training.plan import plan_run, planned_training
        from vclip_cli.engine.training.train import bridge_of

        request = Request.of("train", {**settings, **named})
        return {**planned_training(plan_run(request)), "bridge": bridge_of(request)}
    raise UsageError(f"no dry run of {verb!r}", expected="eval, train, run or embed")
