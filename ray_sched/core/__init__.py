"""The pure part: it owns every decision, as brains that are given facts and answer with effects.

At the top the messages and words that all packages here speak; each package is one brain, or what brains share. It
never awaits, and knows no Ray, Redis, clock, chance, file or log: time and chance are arguments.
"""
