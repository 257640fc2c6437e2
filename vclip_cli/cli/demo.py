"""`vclip demo`: the whole story on the embedded benchmark, without a network."""

from __future__ import annotations

import sys

from vclip_cli.cli import options
from vclip_cli.cli.console import progress, say, show_json


def demo(
    out: options.Out = None,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 16,
    workers: options.Workers = None,
    limit: options.Limit = None,
    resume: options.Resume = True,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Render tiny clips, score a tiny CLIP on them without training, and show what comes out."""
    from vclip_cli.cli.evaluate import result_document, show_results
    from vclip_cli.engine.evaluation.evaluate import evaluate
    from vclip_cli.engine.evaluation.plan import EvaluationRequest, plan_evaluation
    from vclip_cli.engine.specs import WorkerSpec

    evaluated = []
    for dataset in ("toy-shapes", "toy"):
        request = EvaluationRequest(
            protocol="zero-shot",
            dataset=dataset,
            device=device,
            batch_size=batch_size,
            guard=WorkerSpec(workers),
            limit=limit,
            out=out / dataset if out is not None else None,
            resume=resume,
            command=("vclip", *sys.argv[1:]),
        )
        plan = plan_evaluation(request)
        evaluated += evaluate(plan, progress=progress)
    if as_json:
        show_json({"results": [result_document(entry) for entry in evaluated]})
        return
    show_results(evaluated)
    folder = out or "runs"
    hints = (
        (f"vclip table {folder}", "the same numbers as a table"),
        ("vclip split toy --protocol base-to-novel --seed 1", "splits with their provenance"),
        ("vclip data add mine --videos DIR", "your own videos, one folder a class"),
        ("vclip eval --protocol zero-shot --dataset mine", "CLIP on them"),
        ('vclip predict clip.mp4 --labels "pour,push up"', "ranked labels for one video"),
    )
    width = max(len(command) for command, _ in hints)
    say(
        "\nThe tiny CLIP was trained on stills: it knows the shapes, not how they move.\n"
        "What to try next:"
    )
    for command, what in hints:
        say(f"  {command:<{width}}  {what}")
