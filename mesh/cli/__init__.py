"""The command `tooloo`: a person's and a script's way to a running mesh; its verbs are made from the contracts."""
