"""The processes of the server: the supervisor that owns the port, the workers that answer, the follower of the registry.

Public: `main.serve`; `worker` and `follower` are run by name.
"""
