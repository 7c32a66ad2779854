"""Every invariant of the service, over both stores, judged at a quiet moment. It only reads."""
