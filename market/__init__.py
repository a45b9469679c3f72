"""The demo market: a seeded simulator of 32 provinces' procurement platforms. Its data is made up and says so."""
