"""What every service shares, whichever way it communicates."""
