"""HTTP in front of the models: routes, keys and limits, as an ASGI application and, for predictions, on the fast path.

Public: `service.Service`, `routes.Routes`, `asgi.App`, `fast_path_check.protocol_for`.
"""
