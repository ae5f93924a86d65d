"""Side by side with the usual way: how fast, and in how much memory."""
