"""What the attribution is measured against: traffic of every kind, made by processes that say what they
have sent and received.

    python3 -m oracle SCENARIO [ARGUMENT...]

Each process prints a line of JSON for what it has carried: {"who", "pid", "down", "up"}, in IP bytes
with headers. For TCP each end's kernel tells what it has sent, retransmissions included, in
TCP_INFO; for datagrams it is arithmetic.

Load whose bytes nobody compares is not made here, but by chadthrottle/examples/load.
"""
