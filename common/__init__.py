"""What the lab's steps share; the steps themselves stand one folder up."""
