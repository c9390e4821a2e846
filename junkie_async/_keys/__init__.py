"""The operations on keys: the API's index, how single calls are made, and how jobs are."""
