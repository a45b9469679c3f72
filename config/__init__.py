"""What the other packages are told: settings, topics, policy, provinces."""
