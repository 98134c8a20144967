"""The paper's event data: SHD, N-MNIST, DVS-Gesture and CIFAR10-DVS, read through Tonic from what a lab has."""
