"""Decoding of uploads in worker processes, isolated from the service because image decoders parse untrusted bytes.

A file that crashes or stalls its decoder costs one worker process, which is replaced in 0.2 s. A file that takes over
its decoder finds no key, no connection to the store and no socket in that process. Decoding also leaves the
interpreter lock of the service free for requests.
"""
