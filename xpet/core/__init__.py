"""Foundation: imports no other room. Configs, errors, events, routines as data, losses, metrics, run directory."""
