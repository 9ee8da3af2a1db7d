"""The workloads that come with Slipway; what one has beside it begins with an underscore."""
