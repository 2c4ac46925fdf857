"""Reading uploads in processes of their own: decoders are where hostile bytes do harm.

A file that crashes its decoder, or keeps it busy for ever, costs a process that is started again in a fifth of a
second; a file that takes over its decoder finds no key, no store and no socket there. And reading leaves the
interpreter of the service to the rest.
"""
