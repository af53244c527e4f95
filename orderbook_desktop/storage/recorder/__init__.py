"""The recorder: what the feeds receive, written through every outage."""
