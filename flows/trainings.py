"""The trainings that a search tries before the one that ships: rounds of them through the flow's task runner."""

import hashlib
import json

from flows import steps
from flows.orchestration.task_runner import at_once, spread
from flows.pipeline.runner import StepRunner
from tasks.config import RunConfig
from tasks.measured import Searched
from tasks.records import Dataset
from tasks.registry.tags import SEARCH_TAG
from tasks.workloads.catalogue import load_workload


def search(runner: StepRunner, dataset: Dataset, config: RunConfig) -> tuple[RunConfig, Searched | None]:
    """`config` as the best training of `search.space` by validation rows had it, and all that were tried; as it is without a space.

    Each training is a step, so that one that ended is not run again, and one that was killed goes on; what it was proposed
    by is computed anew from what the others came to.
    """
    if not config.search.space:
        return config, None
    from tasks.training.space import with_point
    from tasks.training.study import Study
    from tasks.training.tried import check_points, without_test

    workload, context = load_workload(runner.context.workload), runner.context
    study = Study(config, _identity(runner, dataset, config), workload.first_model)
    check_points(workload, seen := without_test(dataset), config)
    if context.run_id is not None:
        context.registry.tag_run(context.run_id, {SEARCH_TAG: study.identity})
        context.registry.adopt(context.model, SEARCH_TAG, study.identity, context.run_id)
    while proposals := study.propose():
        while proposals and not study.out_of_time():
            count = at_once() or len(proposals)
            part, proposals = proposals[:count], proposals[count:]
            with spread():
                study.tell(runner.map(steps.try_training, "training", part, dataset=seen))
    searched = study.searched()
    chosen = with_point(config, searched.choice.knobs)
    if context.run_id is not None:
        context.registry.log_params(context.run_id, searched.choice.knobs)
    return chosen, searched


def _identity(runner: StepRunner, dataset: Dataset, config: RunConfig) -> str:
    """What a search is the same by: all that decides its results but how long it goes on."""
    search = config.search
    asked = {
        "code": runner.context.state_of("flows.steps.try_training"),
        "materials": {material.name: material.sha256 for material in runner.context.materials},
        "rows": dataset.arrays_sha256,
        "space": search.space,
        "seed": search.seed,
        "train": config.train and config.train.model_dump(mode="json"),
        "model": config.model,
    }
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
