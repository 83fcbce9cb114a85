"""The HTTP API and the web page (extra `server`)."""
