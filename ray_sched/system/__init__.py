"""The composition root: starts and finds actors. The one package that knows Ray."""
