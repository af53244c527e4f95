"""What the operating system gives: child processes, private files, ports, threads, resources."""
