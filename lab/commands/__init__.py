"""The commands of `lab`, a module per group; each has `register`, which adds its commands to the app."""
