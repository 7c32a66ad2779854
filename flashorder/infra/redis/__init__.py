"""Redis or Valkey: key names, scripts, connections."""
