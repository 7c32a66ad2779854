"""The harness that tries to make the service lose something, and the checker that would tell.

``flashorder chaos`` runs it; the tests beside it try the parts, and the checker against planted
violations. Nothing here is imported by the service.
"""
