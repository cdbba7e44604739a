"""Text to syntax: one grammar a file, and no meaning."""
