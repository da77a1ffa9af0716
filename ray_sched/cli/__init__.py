"""The command line: each verb parses, calls and prints, and is a file of its own."""
