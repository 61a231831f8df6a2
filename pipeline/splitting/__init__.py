"""What the stage `split` holds every splitter to: groups joined, laws checked, and the page that shows the splits."""
