"""The whole service on one machine: stores, roles and a demonstration under one supervisor."""
