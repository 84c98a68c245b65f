"""The workflow example_workflow. Importing this package imports nothing else."""
