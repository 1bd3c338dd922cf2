"""Child processes: started, followed, stopped beside each other, measured in rounds."""
