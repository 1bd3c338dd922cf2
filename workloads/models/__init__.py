"""One file per model; `workloads.catalog` lists them."""
