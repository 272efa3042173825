"""fsspec's verbs over the two services, a module for each kind; ``core`` is what they share."""
