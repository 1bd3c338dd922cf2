"""What runs: models written once against a small vocabulary of operations, and the data they run on."""
