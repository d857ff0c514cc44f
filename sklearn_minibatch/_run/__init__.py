"""What goes on around a fit: monitoring, callbacks, undoing a failed call, what a pickle holds."""
