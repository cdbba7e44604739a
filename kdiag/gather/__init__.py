"""Everything that touches network, disk or other programs: the API, the nodes, the snapshot store."""
