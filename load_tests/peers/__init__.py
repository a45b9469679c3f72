"""The same small task for the engines a user would otherwise pick, and for us: see README.md beside this file."""
