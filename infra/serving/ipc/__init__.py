"""How the server's processes are started, spoken to and ended.

Public: `launch.start`, `child.Child` and `child.stop`, `channel.Channel`, the records of `messages`, `log.set_up`.
"""
