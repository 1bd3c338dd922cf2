"""Parts of the vocabulary of operations (`workloads.ops`) that have a file of their own."""
