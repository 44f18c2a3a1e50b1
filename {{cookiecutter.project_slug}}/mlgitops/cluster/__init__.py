"""Tasks in this process, or on a cluster: params.yaml's `compute.backend`."""
