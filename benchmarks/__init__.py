"""Speed and memory against a usual implementation, and accuracy of the recipes."""
