"""The HTTP API and the page (extra `server`)."""
