"""Services around a fit: monitoring, callbacks, rollback of failed calls, and saved states."""
