"""What can be wrong with recordings that can be read: each module looks at one subject."""
