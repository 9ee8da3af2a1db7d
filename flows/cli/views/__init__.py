"""What commands print: one JSON document on stdout, or lines for people. Public: a module's `show_…`, and `live.live_steps`."""
