"""The runtimes: the ways in which the same stack runs, behind one interface."""
