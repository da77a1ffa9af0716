"""The composition root: starts and finds actors. The one package that knows Ray.

It owns names, options and restarts of actors, and what of Ray others see as protocols. It never decides about jobs or
nodes.
"""
