"""The recording: the database server, the recorder and the readers."""
