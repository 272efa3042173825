"""The two services behind one interface (:mod:`synapsefs.services.base`)."""
