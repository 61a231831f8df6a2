"""From a folder of real data to a trained, explained, attacked, compressed, exported and documented model."""
