"""WHERE it runs: what is seen of the machine. Standard library only; knows none of the other rooms."""
