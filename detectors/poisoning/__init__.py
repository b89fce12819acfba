"""Labels that do not belong: poison in feedback, or in a training set before it is used."""
