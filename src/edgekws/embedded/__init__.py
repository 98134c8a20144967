"""Models on a device: the C library of ``embedded/``, its images, builds and measurements."""
