"""The recorder: writes what the feeds receive, through every outage."""
