"""Augmented samples by keyed draws, and the audit that shows whether draws are what they should be."""
