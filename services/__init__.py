"""The nine services of the lab: one domain, one shared base, three communication models."""
