"""Alerts: what people have to know at once, sent to one webhook, once each."""
