"""Terminal output of the commands: progress, log and result; and how they are interrupted."""
