"""Side by split with the usual way: how fast, and in how much memory."""
