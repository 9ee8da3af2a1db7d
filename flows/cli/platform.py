"""What runs for long: serve, up, status."""

from contextlib import ExitStack

import typer

from flows.cli.arguments import Json, after_help
from flows.cli.completion import Serve

commands = typer.Typer()


@commands.command(
    cls=Serve,
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    help="Serve models over HTTP, following their aliases (slipway serve --help shows all options).",
)
def serve(context: typer.Context) -> None:
    from flows.cli.old_champions import before_serving
    from infra.serving.__main__ import main as serve_main

    before_serving(context.args)
    serve_main(context.args, prog="slipway serve")


@commands.command(epilog=after_help("slipway up", "slipway up --json", codes={0: "ended by SIGTERM"}))
def up(json: Json = False) -> None:
    """Start the platform on this machine: Prefect and MLflow with their pages, a worker, the model server."""
    from flows.cli.old_champions import permit
    from flows.cli.views.starting import starting
    from flows.cli.views.status import show_up
    from infra.platform.beside import join
    from infra.platform.local import end_on_signals, models, platform, stay
    from tasks.registry.registry import Registry
    from tasks.registry.status_tags import all_statuses
    from tasks.settings import load_settings

    settings = load_settings()
    end_on_signals()
    own = f"sqlite:///{settings.home / 'mlflow.db'}"
    permit(settings.model_copy(update={"tracking_uri": own}), models(settings.home))
    with ExitStack() as until_the_end:
        with starting(settings.home, quiet=json) as answered:
            group = until_the_end.enter_context(platform(settings, answered))
            join(settings.home)
            addresses = {kept.service.name: kept.service.url for kept in group.kept if kept.service.url}
            registry = Registry(settings.model_copy(update={"tracking_uri": addresses["mlflow"]}))
            statuses = all_statuses(registry)
        show_up(addresses, statuses, json)
        stay(settings.home, group)


@commands.command(
    epilog=after_help(
        "slipway status", "slipway status --json", codes={0: "all of it is up", 1: "not all of it is up"}
    )
)
def status(json: Json = False) -> None:
    """What is up on this machine, where, since when, and which versions are served; exit code 0 only if all of it is."""
    from flows.cli.views.status import show_status
    from infra.platform.status import platform_status
    from tasks.settings import load_settings

    settings = load_settings()
    platform = platform_status(settings.home)
    if platform.up:
        from tasks.promotion.rollout_status import open_rollouts
        from tasks.registry.registry import Registry
        from tasks.registry.status_tags import all_statuses

        registry = Registry(settings)
        rollouts = {name: rollout.where for name, rollout in open_rollouts(registry).items()}
        platform = platform.model_copy(update={"rollouts": rollouts, "statuses": all_statuses(registry)})
    show_status(platform, json)
    raise typer.Exit(0 if platform.up else 1)
