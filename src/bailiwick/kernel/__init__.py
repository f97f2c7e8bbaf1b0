"""What everything stands on: database, identifiers, errors, outbound calls, telemetry."""
