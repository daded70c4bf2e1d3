"""The programs of the native runtime: found on PATH, installed when missing, configured and supervised."""
