"""The packet walker: what the rules of one node do to a set of packets."""
