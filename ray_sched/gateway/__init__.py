"""The front door: speech over HTTP, in the words of OpenAI's audio API, for clients that know nothing of Ray.

The gateway is a submitter like any other: it holds the audio, uses the client, and decides nothing about nodes.
"""
