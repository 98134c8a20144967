"""OnDA: wake words personalised on the device, weights and channels."""
