"""A protocol for several methods, shots and seeds: each job trains once and is evaluated once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from vclip_cli.common.errors import UsageError
from vclip_cli.common.files import require_writable_folder
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.data.protocol import load_protocol
from vclip_cli.data.protocol_lists import protocol_tests, training_shots
from vclip_cli.engine.evaluation.evaluate import Result, evaluate_plan
from vclip_cli.engine.evaluation.plan import plan_evaluation
from vclip_cli.engine.loading.datasets import open_dataset
from vclip_cli.engine.requests import Request
from vclip_cli.engine.runs.run_log import RunLog, open_run_log
from vclip_cli.engine.runs.shards import launched_shard
from vclip_cli.engine.training.train import train_request
from vclip_cli.models.checkpoint import read_info
from vclip_cli.models.contract import Adapter
from vclip_cli.models.registry import find_method

log = logging.getLogger("vclip")


@dataclass(frozen=True)
class Job:
    """One cell of a sweep; shots and seed None where nothing is trained."""

    dataset: str
    method: str
    shots: int | None
    seed: int | None

    def __str__(self) -> str:
        return self._named(", ", " ")

    @property
    def folder(self) -> str:
        """The name of the job's folder."""
        return self._named("_", "")

    def _named(self, between: str, space: str) -> str:
        shots = None if self.shots is None else f"{self.shots}{space}shots"
        seed = None if self.seed is None else f"seed{space}{self.seed}"
        return between.join(filter(None, (self.dataset, self.method, shots, seed)))


def trains(method: str) -> bool:
    """Whether a method has anything to train; `clip` has nothing."""
    return find_method(method).trainable is not Adapter.trainable


def sweep_folder(request: Request) -> Path:
    """Where all runs of a sweep lie."""
    return request.run.out or Path("runs") / Path(str(request.data.protocol)).stem


def plan_sweep(request: Request, datasets: Sequence[str]) -> list[Job]:
    """The jobs in order: by dataset, method, shots, seed. Methods that train nothing appear once.

    Raises UsageError for unknown names before anything is run.
    """
    if request.data.protocol is None or not datasets or not request.sweep.methods:
        raise UsageError(
            "a protocol, a dataset and methods are needed",
            hint="--protocol base-to-novel --dataset toy --methods clip,vita-clip",
        )
    protocol = load_protocol(request.data.protocol)
    jobs = []
    for dataset in datasets:
        learning = [method for method in request.sweep.methods if trains(method)]
        published = training_shots(protocol, open_dataset(dataset)) if learning else []
        shots = request.sweep.shots or tuple(published) or (None,)
        seeds = request.sweep.seeds or tuple(protocol.seeds) or (0,)
        for method in request.sweep.methods:
            if method in learning:
                jobs += [Job(dataset, method, count, seed) for count in shots for seed in seeds]
            else:
                jobs.append(Job(dataset, method, None, None))
    return jobs


def sweep_log(request: Request, jobs: int) -> AbstractContextManager[RunLog]:
    """The log of all jobs together; it also counts jobs that have not begun.

    Raises UsageError where the folder cannot be written.
    """
    folder = sweep_folder(request)
    require_writable_folder(folder)
    return open_run_log(folder, "run", launched_shard(), total=jobs)


def run_job(request: Request, job: Job, *, progress: Progress = no_progress) -> list[Result]:
    """Train if the method trains, then evaluate on all of the protocol's test sets.

    A method that is tied to its training classes skips the test sets of other classes, and says so.
    The processes of a launch do both together; rank 0 returns the results.
    """
    folder = sweep_folder(request) / job.folder
    own = request.change(
        data={"dataset": job.dataset, "shots": job.shots}, model={"method": job.method}
    )
    if job.seed is not None:
        training = own.change(run={"seed": job.seed, "out": folder / "train"})
        checkpoint = train_request(training, progress=progress).checkpoint
        own = own.change(
            data={"split": _scorable(request, job, checkpoint)},
            model={"checkpoint": checkpoint},
            training={"set": ()},
        )
    own = own.change(run={"out": folder / "test"})
    return evaluate_plan(plan_evaluation(own), progress=progress)


def _scorable(request: Request, job: Job, checkpoint: Path) -> tuple[str, ...] | None:
    """The test sets that a checkpoint's own classes allow; None for all, or where none is left."""
    tied = read_info(checkpoint).classes
    protocol = load_protocol(str(request.data.protocol))
    tests = protocol_tests(protocol, open_dataset(job.dataset))
    fitting = [test.name for test in tests if tied is None or set(test.classes) == set(tied)]
    foreign = [test.name for test in tests if test.name not in fitting]
    if not foreign or not fitting:
        return None
    log.warning("%s is tied to its training classes and cannot score %s", job, ", ".join(foreign))
    return tuple(fitting)
