"""A week of a desk in virtual time: who is told what, compared with what three channels really took.

``scenario`` is what happens, ``roster`` who stands for whom, ``plan`` who is to be told of it, and ``comparison`` holds
what the channels took against that: these four are written from the documents alone, before the code was read, and
import nothing of the product.
"""
