"""Large jobs: split into calls, run by a worker pool, recorded in a journal."""
