"""Passwords and keys of a deployment: made once, and put where a command looks for them. Public: `generate.make_secrets`, `inject.read_secrets`."""
