"""A step of this machine as what takes requests: the third of the driver's targets, beside virtual ones and HTTP."""
