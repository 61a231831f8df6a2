"""Answers from a shipped model: images in from a folder, a video or the network, predictions out, in batches, within limits."""
