"""The embedded stack: PostgreSQL, a Redis-compatible server, a JuiceFS volume and the WVS processes, on loopback.

One module per server; `stack.py` puts them in order. Nothing here imports Django or an app: it starts processes.
"""
