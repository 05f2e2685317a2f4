"""What a fixed tangent kernel says of training, in closed form, from kernels given as arrays.

A kernel of N and M examples has one of two shapes: (N, C, M, C), the full kernel of C outputs, as
:func:`clntk.empirical_ntk` gives it; or (N, M), which stands for K ⊗ I_C: outputs that do not mix and are all alike, as
those of :func:`clntk.infinite_ntk`. The mode ``trace`` of an empirical kernel is a *sum* over outputs: divide it by C
for the nearest kernel of this shape.
"""
