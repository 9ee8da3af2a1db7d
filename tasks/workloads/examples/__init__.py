"""The workloads that come with Slipway; a module that is none begins with an underscore."""
