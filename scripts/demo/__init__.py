"""The demonstration of the main job: a client of the API, and an agent in a process of its own."""
