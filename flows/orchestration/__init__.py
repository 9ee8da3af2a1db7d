"""Prefect itself: what a run shows and asks in the UI, one retraining at a time, deployments and automations, a server for one command.

Public: `form.read`, `artifacts.show_…`, `progress.report_progress`, `approval.ask`, `approval.start_asking`, `events.emit`,
`events.announced`, `run_lock.wait_for_turn`, `task_runner.task_runner`, `failures.failing_in_a_sentence`,
`reachability.check_prefect`, `deployment.deploy`, `automations.apply`, `embedded.EmbeddedServer`.
"""
