"""Reading a recording: archive and raw events as one."""
