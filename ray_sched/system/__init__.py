"""The composition root: starts and finds actors. The one room that knows Ray."""
