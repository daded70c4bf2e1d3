"""Performance figures, each as a ratio measured in one run."""
