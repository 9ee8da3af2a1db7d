"""One's own models on the team's platform: deploy, deployments, withdraw."""

import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.arguments import Json, after_help
from tasks.errors import UserError

if TYPE_CHECKING:
    from flows.orchestration.own_deployments import Deployed
    from tasks.bundles.bundle import Bundle
    from tasks.workloads.workload import Workload

commands = typer.Typer()

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="A deployment's, as `slipway deployments` says it.")
]


@commands.command(
    epilog=after_help(
        "slipway deploy churn.py",
        'slipway deploy churn.py --cron "0 2 * * *" --timezone Europe/Berlin --requirements extra.txt',
        "slipway deploy https://github.com/team/models.git@1a2b3c4d:churn.py --params train.epochs=3",
    )
)
def deploy(
    reference: Annotated[
        str,
        typer.Argument(
            metavar="WORKLOAD",
            help="A file (churn.py), a module (package.module), a commit (GIT-URL@COMMIT[:path/to/churn.py]) or a bundle.",
        ),
    ],
    name: Annotated[str | None, typer.Option(help="The deployment's; left out: the model's.")] = None,
    cron: Annotated[
        str | None, typer.Option(help='When it runs by itself, such as "0 2 * * *"; left out: as it was.')
    ] = None,
    timezone: Annotated[str | None, typer.Option(help="Of --cron; left out: UTC.")] = None,
    requirements: Annotated[
        Path | None, typer.Option(help="A file of requirements beyond Slipway's own, which the bundle pins.")
    ] = None,
    params: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A setting that its runs have unless told otherwise, as --set takes it; again for another.",
        ),
    ] = None,
    pool: Annotated[
        str | None, typer.Option(help="The work pool that its runs go to; left out: as it was, else slipway.")
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(help="NAME@sha256:…, for pools of Docker and Kubernetes; left out: as it was."),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A variable of its runs' environment; a secret by its block: '{{ prefect.blocks.secret.NAME }}'; again for another.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Give the team's platform a workload: signed, whole, in Prefect's pages with a form of its own, scheduled, served and watched."""
    from flows.cli.views.deployments import show_deployed
    from flows.cli.views.waiting import working

    if timezone is not None and cron is None:
        raise UserError(f"--timezone {timezone} is that of --cron: say both.")
    _prefects_settings()
    with working("deploy", reference, quiet=json), redirect_stdout(sys.stderr):  # a workload may print
        bundle, made = _deploy(
            reference, name, cron, timezone or "UTC", requirements, params, pool=pool, image=image, env=env
        )
    show_deployed(bundle, made, json)


@commands.command(epilog=after_help("slipway deployments", "slipway deployments --json"))
def deployments(json: Json = False) -> None:
    """What was deployed: its bundle, its schedule, what came of its last run, and which version serves."""
    from flows.cli.views.deployments import show_deployments
    from tasks.promotion.permits import serving_version
    from tasks.registry.registry import Registry
    from tasks.settings import load_settings

    _prefects_settings()
    from flows.orchestration.deployment_list import listed
    from flows.orchestration.own_deployments import prefect_server

    registry = Registry(load_settings())

    def champion(model: str) -> int | None:
        version = serving_version(registry, model)
        return None if version is None else version.version

    with prefect_server() as client:
        show_deployments(listed(client, champion), json)


@commands.command(epilog=after_help("slipway withdraw churn"))
def withdraw(name: Name, json: Json = False) -> None:
    """Remove a model's deployments: nothing retrains or watches it any more. What serves goes on."""
    from flows.cli.views.deployments import Withdrawn, show_withdrawn
    from tasks.registry.registry import Registry
    from tasks.settings import load_settings

    _prefects_settings()
    from flows.orchestration import own_deployments as prefects
    from flows.orchestration.rollout_schedule import follow
    from tasks.promotion.permits import serving_version
    from tasks.promotion.rollout_status import to_look_at

    registry = Registry(load_settings())
    registry.check_reachable()
    with prefects.prefect_server() as client:
        model = prefects.withdraw(client, name)
    if model in (still := to_look_at(registry)):
        follow(still)
    version = serving_version(registry, model)
    show_withdrawn(
        Withdrawn(name=name, model=model, champion=None if version is None else version.version), json
    )


def _prefects_settings() -> None:
    """Before Prefect is imported."""
    from infra.platform.prefect import client_environment
    from tasks.settings import load_settings

    for variable, value in client_environment(load_settings().home).items():
        os.environ.setdefault(variable, value)


def _deploy(
    reference: str,
    name: str | None,
    cron: str | None,
    timezone: str,
    requirements: Path | None,
    params: list[str] | None,
    *,
    pool: str | None,
    image: str | None,
    env: list[str] | None,
) -> "tuple[Bundle, Deployed]":
    """All that can be wrong is said before anything is published: first a server that is not there, then what the workload shows."""
    from flows.cli.overrides import configure
    from flows.orchestration import own_deployments as prefects
    from flows.orchestration.own_form import own_form, parameters
    from flows.orchestration.own_parts import Wanted, environment
    from flows.retrain import retrain
    from tasks.compression.catalogue import check_run
    from tasks.settings import load_settings
    from tasks.workloads.catalogue import load_workload
    from tasks.workloads.publishing import publish

    settings, variables = load_settings(), environment(env)

    def wanted(workload: "Workload", bundle: str) -> Wanted:
        try:
            config = configure(workload, settings, params or ())
        except UserError as error:
            raise UserError(str(error).replace("--set ", "--params ")) from error
        check_run(workload, config)
        return Wanted(
            name=name or workload.name,
            model=workload.name,
            reference=bundle,
            form=own_form(retrain.parameters.model_dump(), bundle, workload),
            parameters=None if params is None else parameters(config, params),
            cron=cron,
            timezone=timezone,
            pool=pool,
            image=image,
            env=variables,
            rollout=settings.policy(workload.name).rollout is not None,
        )

    with prefects.prefect_server() as client:
        client.hello().raise_for_status()
        prefects.check_store(settings.store)
        bundle = publish(
            reference, requirements, lambda workload: prefects.check(client, wanted(workload, "bundle:"))
        )
        return bundle, prefects.deploy(client, wanted(load_workload(bundle.workload), bundle.workload))
