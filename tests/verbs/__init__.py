"""One file per verb, each on both roots where it makes sense."""
