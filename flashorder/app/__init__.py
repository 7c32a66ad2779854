"""The composition root: builds what each role needs, owns its tasks, closes it again.

``web.build_web``, ``background.build_consumer`` and ``background.build_worker`` are the roles;
``parts`` is what they have in common. Nothing else decides which part a running role is given, and
tests build the same roles.
"""
