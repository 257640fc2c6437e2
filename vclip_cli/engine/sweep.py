"""A protocol for several methods, shots and seeds: each job trains once and is evaluated once."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vclip_cli.common.files import require_writable_folder
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.data.protocol import load_protocol
from vclip_cli.data.protocol_lists import protocol_tests, training_shots
from vclip_cli.engine.encoding.model import MethodRequest
from vclip_cli.engine.evaluation.evaluate import Evaluated, evaluate
from vclip_cli.engine.evaluation.plan import EvaluationRequest, plan_evaluation
from vclip_cli.engine.loading.datasets import open_dataset
from vclip_cli.engine.loading.workers import UNGUARDED, Guard
from vclip_cli.engine.runs.run_log import RunLog, log_name, open_run_log
from vclip_cli.engine.runs.shards import launched_shard
from vclip_cli.engine.training.bridge import with_bridge
from vclip_cli.engine.training.plan import TrainingRequest, plan_run
from vclip_cli.engine.training.train import train
from vclip_cli.models.checkpoint import read_info
from vclip_cli.models.contract import Adapter
from vclip_cli.models.registry import find_method

log = logging.getLogger("vclip")


@dataclass(frozen=True)
class SweepRequest:
    """What a person asked of `vclip run`; seeds and shots None for the protocol's own."""

    protocol: str
    datasets: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...] | None = None
    shots: tuple[int, ...] | None = None
    settings: tuple[str, ...] = ()
    backbone: str | None = None
    pretrained: str | None = None
    frames_from: str = "source"
    device: str = "auto"
    precision: str = "fp32"
    batch_size: int = 8
    guard: Guard = UNGUARDED
    gradient_checkpointing: bool = False
    compiled: bool = False
    limit: int | None = None
    out: Path | None = None
    resume: bool = True
    cache: bool = True
    command: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where all runs of the matrix lie."""
        return self.out or Path("runs") / Path(self.protocol).stem


@dataclass(frozen=True)
class Job:
    """One cell of the matrix; shots and seed None where nothing is trained."""

    dataset: str
    method: str
    shots: int | None
    seed: int | None

    def __str__(self) -> str:
        parts = [self.dataset, self.method]
        parts += [f"{self.shots} shots"] if self.shots is not None else []
        parts += [f"seed {self.seed}"] if self.seed is not None else []
        return ", ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return asdict(self)

    @property
    def folder(self) -> str:
        """The name of the job's folder."""
        parts = [self.dataset, self.method]
        parts += [f"{self.shots}shots"] if self.shots is not None else []
        parts += [f"seed{self.seed}"] if self.seed is not None else []
        return "_".join(parts)


def trains(method: str) -> bool:
    """Whether a method has anything to train: `clip` has not."""
    return find_method(method).trainable is not Adapter.trainable


def plan_sweep(request: SweepRequest) -> list[Job]:
    """The jobs in order: by dataset, method, shots, seed. Methods that train nothing appear once.

    Raises UsageError for unknown names before anything is run.
    """
    protocol = load_protocol(request.protocol)
    jobs = []
    for dataset in request.datasets:
        learning = [method for method in request.methods if trains(method)]
        published = training_shots(protocol, open_dataset(dataset)) if learning else []
        shots = request.shots or tuple(published) or (None,)
        seeds = request.seeds or tuple(protocol.seeds) or (0,)
        for method in request.methods:
            if method in learning:
                jobs += [Job(dataset, method, count, seed) for count in shots for seed in seeds]
            else:
                jobs.append(Job(dataset, method, None, None))
    return jobs


@contextlib.contextmanager
def sweep_log(request: SweepRequest, jobs: int) -> Iterator[RunLog]:
    """The log of all jobs together, which knows of those that have not begun.

    Raises UsageError where the folder cannot be written.
    """
    require_writable_folder(request.folder)
    share = launched_shard()
    with open_run_log(request.folder, "run", log_name(share), total=jobs) as log:
        yield log


def run_job(
    request: SweepRequest, job: Job, *, progress: Progress = no_progress
) -> list[Evaluated]:
    """Train if the method trains, then evaluate on all of the protocol's test sets.

    A method that is tied to its training classes leaves out the sets of other classes, and says so.
    The processes of a launch do both together, and the first one gives what was evaluated.
    """
    folder = request.folder / job.folder
    checkpoint = splits = None
    method = MethodRequest(job.method, request.backbone, request.pretrained)
    if job.seed is not None:
        training = TrainingRequest(
            protocol=request.protocol,
            dataset=job.dataset,
            method=method,
            settings=request.settings,
            shots=job.shots,
            seed=job.seed,
            frames_from=request.frames_from,
            device=request.device,
            precision=request.precision,
            batch_size=request.batch_size,
            guard=request.guard,
            gradient_checkpointing=request.gradient_checkpointing,
            compiled=request.compiled,
            limit=request.limit,
            out=folder / "train",
            resume=request.resume,
            cache=request.cache,
        )
        plan = plan_run(with_bridge(training, progress=progress))
        checkpoint = train(plan, progress=progress).checkpoint
        method = MethodRequest(
            job.method, request.backbone, request.pretrained, checkpoint=checkpoint
        )
        splits = _scorable(request, job, checkpoint)
    evaluation = plan_evaluation(
        EvaluationRequest(
            protocol=request.protocol,
            dataset=job.dataset,
            method=method,
            frames_from=request.frames_from,
            device=request.device,
            precision=request.precision,
            batch_size=request.batch_size,
            guard=request.guard,
            limit=request.limit,
            splits=splits,
            out=folder / "test",
            resume=request.resume,
            cache=request.cache,
            shard=launched_shard(),
            command=request.command,
        )
    )
    return evaluate(evaluation, progress=progress)


def _scorable(request: SweepRequest, job: Job, checkpoint: Path) -> tuple[str, ...] | None:
    """The test sets that a checkpoint's own classes allow; None for all, or where none is left."""
    tied = read_info(checkpoint).classes
    tests = protocol_tests(load_protocol(request.protocol), open_dataset(job.dataset))
    fitting = [test.name for test in tests if tied is None or set(test.classes) == set(tied)]
    foreign = [test.name for test in tests if test.name not in fitting]
    if not foreign or not fitting:
        return None
    log.warning("%s is tied to its training classes and cannot score %s", job, ", ".join(foreign))
    return tuple(fitting)
