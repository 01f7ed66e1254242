"""The command `wsi-necrosis`: a module for each subcommand."""
