"""The API's protocol without I/O: arguments to requests, responses to models or errors."""
