"""Speech over WebSockets, in the words of OpenAI's Realtime API: transcription and translation while somebody speaks.

Each session is a pure machine (``core.turns``) and a shell around it, which holds the audio and submits the jobs.
"""
