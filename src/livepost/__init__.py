"""Deliver records to a REST API over connections that stay live."""

__version__ = "0.1.0"
