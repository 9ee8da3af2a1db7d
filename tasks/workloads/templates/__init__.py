"""What `slipway new` copies: a workload file of each sort, which runs as it stands on rows that it makes up or has at hand."""
