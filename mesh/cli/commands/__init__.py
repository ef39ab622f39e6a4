"""One file a command, found by its name and imported only when it is called; its first line is the command's help in the list."""
