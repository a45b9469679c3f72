"""The shell around the machine: Faust app, batch transport, sinks, state topic, clock, read model, metrics, logs."""
