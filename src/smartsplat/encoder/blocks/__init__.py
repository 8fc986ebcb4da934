"""Images larger than memory, or than one machine's patience: blocks are fitted apart and become one set of Gaussians.

A coarse fit of the whole image, shrunk by 8, makes the first fifth of the steps: it places Gaussians where the whole
image needs them. Then every block goes on alone, with a margin as far as its Gaussians reach, from one round to the
next. Between rounds all Gaussians are put together, and the next round of every block starts from what its neighbours
have come to. So seams are fitted as often as there are rounds: with nine no seam is left (docs/guides/huge_images.md).
How many Gaussians each block is to have is what a fit of the whole would come to: the weakest of all go, and new ones
go where the error is.

Each Gaussian belongs to the block that has fitted it in its core; what a block does to those in its margin is only for
its own good, and forgotten. A task depends on nothing but its arguments, so that it does not matter where, or in which
order, the tasks of a round are done.
"""
